"""``harness prune``: what is beyond the limits goes; what may still be needed, and what is no run of ours, stays."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli import main
from harness.evidence.index import Index
from harness.model import night as nights
from harness.model.errors import RecordError, UsageError
from harness.model.night import Night
from harness.run import pipeline, retention
from tests.indexed import BEGAN, plan, verdict, write

#: So long ago was everything written.
OLD_S = 1_000_000_000


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run folder of a checkout."""
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def aged(runs: Path) -> None:
    """Nothing was written lately."""
    for path in runs.rglob("*"):
        os.utime(path, (OLD_S, OLD_S), follow_symlinks=False)


def left(runs: Path) -> list[str]:
    """Names of the folders that are still there."""
    return sorted(path.name for path in runs.iterdir() if path.is_dir() and not path.is_symlink())


def pruned(runs: Path, *words: str) -> list[str]:
    """What is left after `prune` with these words."""
    assert main.main(["prune", *words]) == 0
    return left(runs)


def test_the_newest_of_each_scenario_and_machine_stay(runs: Path) -> None:
    """A drill that runs seldom does not lose its runs to one that runs often."""
    for day in range(5):
        write(runs, f"a{day}", day)
        write(runs, f"b{day}", day + 0.1, machine={"key": "another"})
        write(runs, f"c{day}", day + 0.2, written={"name": "timeout-spike", "load": {"rate": "50 %"}})
    write(runs, "z", 9)
    aged(runs)
    assert pruned(runs, "--keep", "2") == ["a4", "b3", "b4", "c3", "c4", "z"]


def test_what_is_older_goes(runs: Path) -> None:
    """By when the run began, whatever number it has; both limits count."""
    now = (dt.datetime.now(dt.UTC) - BEGAN).total_seconds() / 86400
    for number, age in enumerate((40, 20, 5, 1)):
        write(runs, f"run-{number}", now - age)
    aged(runs)
    assert pruned(runs, "--days", "30") == ["run-1", "run-2", "run-3"]
    assert pruned(runs, "--days", "10", "--keep", "30") == ["run-2", "run-3"]
    assert pruned(runs, "--days", "10", "--keep", "1") == ["run-3"]


def test_a_dry_run_removes_nothing(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what would go, and why."""
    for day in range(3):
        write(runs, f"run-{day}", day)
    aged(runs)
    assert pruned(runs, "--keep", "1", "--dry-run") == ["run-0", "run-1", "run-2"]
    out = capsys.readouterr().out
    assert "run-0: number 3 of its scenario" in out
    assert "would remove 2 runs" in out


def test_the_last_good_run_stays(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However old it is: it is what the next one is compared with. One that was broken on purpose is none."""
    write(runs, "pass-0", 0)
    write(runs, "pass-1", 1)
    write(runs, "broken", 2, defects={"sim.slow": "slow"})
    for day in (3, 4, 5):
        write(runs, f"fail-{day}", day, judged=verdict("FAIL"))
    aged(runs)
    assert pruned(runs, "--keep", "1", "--days", "1") == ["fail-5", "pass-1"]
    out = capsys.readouterr().out
    assert "kept     pass-1: number 5 of its scenario, but the last good run of its scenario" in out
    assert "kept     fail-5" in out
    assert "but the newest run" in out


def test_a_run_that_is_dated_in_the_future_is_not_the_last_good_one(runs: Path) -> None:
    """A clock was wrong: no run of today is compared with it, and the one that they are compared with stays."""
    write(runs, "pass", 0)
    write(runs, "future", 400_000)
    write(runs, "fail", 1, judged=verdict("FAIL"))
    aged(runs)
    assert pruned(runs, "--keep", "1") == ["future", "pass"]


def test_the_run_that_latest_leads_to_stays(runs: Path) -> None:
    """A clock that was set back makes another one the newest."""
    write(runs, "pass", 3)
    write(runs, "begun-last", 0, judged=verdict("FAIL"))
    (runs / "latest").symlink_to("begun-last")
    aged(runs)
    assert pruned(runs, "--keep", "1") == ["begun-last", "pass"]
    (runs / "latest").unlink()
    assert pruned(runs, "--keep", "1") == ["pass"]


def test_the_runs_of_the_newest_night_stay(runs: Path) -> None:
    """Its page leads to them. Those of earlier nights are runs as any other; the nights themselves are left alone."""
    for day in range(3):
        name = f"nightly-2026-11-0{day + 1}"
        for number in range(2):
            write(runs, f"run-{day}-{number}", day + number / 10)
        (runs / name).mkdir()
        attempts = [{"run_id": f"run-{day}-{number}"} for number in range(2)]
        (runs / name / "suite.json").write_text(json.dumps({"run_id": name, "entries": [{"attempts": attempts}]}))
    aged(runs)
    nights = ["nightly-2026-11-01", "nightly-2026-11-02", "nightly-2026-11-03"]
    assert pruned(runs, "--keep", "1") == [*nights, "run-2-0", "run-2-1"]


@pytest.mark.parametrize("judged", [{}, verdict("FAIL")])
def test_a_run_that_may_go_on_stays(runs: Path, judged: dict[str, object]) -> None:
    """Something was written in it within the last hour, also where the verdict is there: it may be rendered."""
    write(runs, "going-on", 0, judged=judged)
    write(runs, "later", 1)
    aged(runs)
    (runs / "going-on" / "events.jsonl").touch()
    assert pruned(runs, "--keep", "1") == ["going-on", "later"]
    aged(runs)
    assert pruned(runs, "--keep", "1") == ["later"]


@pytest.fixture
def watchdog(runs: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like the watchdog of the run ``watched``."""
    words = [
        sys.executable,
        "-c",
        "import sys; sys.stdin.read()",
        "-m",
        "harness.recover.watchdog",
        str(runs / "watched"),
        "3",
    ]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as process:  # leaving it closes what it waits for
        yield process


def test_a_run_whose_watchdog_lives_stays(runs: Path, watchdog: subprocess.Popen[bytes]) -> None:
    """It may wait for long, for an engine that starts again."""
    write(runs, "watched", 0, judged={})
    write(runs, "later", 1)
    aged(runs)
    assert pruned(runs, "--keep", "1") == ["later", "watched"]
    assert watchdog.stdin
    watchdog.stdin.close()
    watchdog.wait(20)
    assert pruned(runs, "--keep", "1") == ["later"]


def test_a_run_with_an_open_journal_stays(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it injected may still be there: the doctor needs the journal. One that is closed is none."""
    undo = {"id": "one-replica/latency", "action": "remove_toxic", "args": {"proxy": "a"}, "phase": "one-replica"}
    for number, lines in enumerate(([undo], [undo, {"done": undo["id"]}])):
        folder = write(runs, f"run-{number}", number, judged=verdict("FAIL"))
        (folder / "undo.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.mkfifo(write(runs, "strange", 2, judged=verdict("FAIL")) / "undo.jsonl")
    write(runs, "later", 3)
    aged(runs)
    assert pruned(runs, "--keep", "1") == ["later", "run-0", "strange"]
    assert "its undo journal is open (one-replica/latency): see `doctor`" in capsys.readouterr().out


def test_a_run_with_an_incident_report_stays(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What people wrote in it is nowhere else."""
    (write(runs, "incident", 0) / "incident.md").write_text("what we learned")
    write(runs, "old", 1)
    write(runs, "new", 2)
    aged(runs)
    assert pruned(runs, "--keep", "1") == ["incident", "new"]
    assert "kept     incident: number 3 of its scenario, but people may have written in its incident.md" in (
        capsys.readouterr().out
    )


def test_what_is_no_run_of_ours_is_left_alone(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files, folders of others, copies, broken runs, links: not even a link to a run elsewhere is followed."""
    outside = write(tmp_path / "elsewhere", "run-0", 0)
    (runs / "linked").symlink_to(outside)
    (runs / "notes.txt").write_text("mine")
    (runs / "mine").mkdir()
    (runs / "mine" / "data").write_text("mine")
    (runs / "broken").mkdir()
    (runs / "broken" / "plan.json").write_text("{")
    (runs / "capacity").mkdir()
    (runs / "capacity" / "plan.json").write_text(json.dumps(plan("capacity", drill="capacity")))
    old = write(runs, "old", 0)
    shutil.copytree(old, runs / "copy-of-old")
    (old / "logs").symlink_to(outside)
    write(runs, "new", 1)
    aged(runs)
    assert pruned(runs, "--keep", "1", "--days", "1") == ["broken", "capacity", "copy-of-old", "mine", "new"]
    assert (outside / "plan.json").exists()
    assert (runs / "linked").is_symlink()
    assert (runs / "notes.txt").exists()
    assert "left alone: 6 entries" in capsys.readouterr().out


def a_night(runs: Path, day: int, status: str, suite: str = "nightly") -> None:
    """One with a single drill."""
    entry = {"id": "oom", "drill": "oom", "scenario": "oom", "runtime": "process", "engine": "sim", "status": status}
    began = dt.datetime(2026, 11, day, 2, tzinfo=dt.UTC)
    known = {"suite": suite, "run_id": f"{suite}-{day}", "seed": 1, "started": began, "ended": began, "commit": ""}
    (runs / f"{suite}-{day}").mkdir()
    nights.write(runs / f"{suite}-{day}", Night.model_validate({**known, "machine": "", "entries": [entry]}))


def test_nights_loads_and_comparisons_go_by_the_same_limits(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Never the newest of a kind, nor the last good night; a page that names itself so is no folder of others."""
    for day, status in enumerate(("PASS", "PASS", "FAIL", "FAIL"), start=1):
        a_night(runs, day, status)
    a_night(runs, 1, "FAIL", "weekly")
    for hour in range(3):
        (runs / f"load-{hour}").mkdir()
        (runs / f"load-{hour}" / "plan.json").write_text(json.dumps(plan(f"load-{hour}", drill="load")))
        (runs / f"compare-{hour}.html").write_text("a page")
    (runs / "load-mine").mkdir()
    aged(runs)
    for hour in range(3):
        for path in (runs / f"load-{hour}" / "plan.json", runs / f"compare-{hour}.html"):
            os.utime(path, (OLD_S + hour, OLD_S + hour))
    assert pruned(runs, "--keep", "1") == ["load-2", "load-mine", "nightly-2", "nightly-4", "weekly-1"]
    assert [path.name for path in runs.glob("*.html")] == ["compare-2.html"]
    assert "kept     nightly-2: number 3 of its kind, but the last good night" in capsys.readouterr().out


def test_what_was_written_lately_goes_on(runs: Path) -> None:
    """A night, or load, in progress beside a newer one."""
    for day in (1, 2):
        a_night(runs, day, "FAIL")
    aged(runs)
    (runs / "nightly-1" / "suite.json").touch()
    assert pruned(runs, "--keep", "1") == ["nightly-1", "nightly-2"]
    aged(runs)
    assert pruned(runs, "--days", "1") == ["nightly-2"], "the newest stays, however old it is"


def test_only_a_folder_of_the_runs_is_removed(runs: Path, tmp_path: Path) -> None:
    """Whatever the list of runs says."""
    outside = write(tmp_path / "elsewhere", "run-0")
    with Index.open(outside.parent) as found:
        (run,) = found.runs()
    with pytest.raises(RecordError, match="no folder of"):
        retention.remove(runs, run.folder)
    assert (outside / "plan.json").exists()


def test_a_removal_that_was_interrupted_is_finished(runs: Path) -> None:
    """What is left of it is in no list, and goes with the next."""
    write(runs, "new", 1)
    write(runs, ".removing-old", 0)
    aged(runs)
    with Index.open(runs) as found:
        assert [run.run_id for run in found.runs()] == ["new"]
    assert pruned(runs, "--keep", "1", "--dry-run") == [".removing-old", "new"]
    assert pruned(runs, "--keep", "1") == ["new"]


def test_what_cannot_be_removed_is_said(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are removed all the same; the exit code is 1."""

    def refuse(path: Path, ignore_errors: bool = False) -> None:
        if "run-0" in path.name:
            raise PermissionError(13, "Permission denied")
        really(path)

    really = shutil.rmtree
    for day in range(3):
        write(runs, f"run-{day}", day)
    aged(runs)
    monkeypatch.setattr(shutil, "rmtree", refuse)
    assert main.main(["prune", "--keep", "1"]) == 1
    out = capsys.readouterr().out
    assert "run-0: cannot be removed: Permission denied" in out
    assert "removed 1 runs" in out
    assert "run-1" not in left(runs)


@pytest.mark.parametrize("words", [(), ("--dry-run",), ("--keep", "0"), ("--keep", "-1"), ("--days", "a week")])
def test_without_a_sound_limit_nothing_is_removed(
    runs: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """One line, exit 64."""
    for day in range(3):
        write(runs, f"run-{day}", day)
    aged(runs)
    assert main.main(["prune", *words]) == UsageError.exit_code
    assert "expected" in capsys.readouterr().err
    assert left(runs) == ["run-0", "run-1", "run-2"]


def test_the_index_forgets_what_was_removed(runs: Path) -> None:
    """The next list has the runs that there are."""
    for day in range(3):
        write(runs, f"run-{day}", day)
    aged(runs)
    pruned(runs, "--keep", "1")
    with Index.open(runs) as found:
        assert [run.run_id for run in found.runs()] == ["run-2"]
