"""The index of runs: made from the folders at any time, and nothing that lies among them keeps it from that."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import json
import multiprocessing
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.evidence import index
from harness.evidence.index import FILE, Index, SeriesKey
from harness.model.verdict import Status
from tests.indexed import BEGAN, TTFT, check, plan, ttft, verdict, write

FIXTURES = Path(__file__).parents[1] / "fixtures" / "runs"


def ids(found: Index, **wanted: Any) -> list[str]:
    """Ids of the runs that match."""
    return [run.run_id for run in found.runs(**wanted)]


def reasons(found: Index) -> dict[str, str]:
    """Why something is not in the table, by its name."""
    return {one.path.name: one.reason for one in found.unread}


def test_a_run_is_indexed_with_all_that_a_list_needs(tmp_path: Path) -> None:
    """Every column comes from the folder; times are aware and in UTC."""
    folder = write(tmp_path, "one", written={"name": "timeout-spike", "load": {"rate": "40 %"}})
    with Index.open(tmp_path) as found:
        (run,) = found.runs()
    assert (run.run_id, run.folder, run.drill, run.scenario) == ("one", folder, "timeout-spike", "timeout-spike")
    assert (run.engine, run.runtime, run.machine, run.model) == ("sim", "process", "0123abcd", "v1@sim")
    assert (run.commit, run.dirty, run.seed, run.night, run.defects) == ("a" * 40, False, 7, "", False)
    assert (run.started, run.duration_s) == (BEGAN, 140.5)
    assert (run.status, run.cause, run.reason, run.judged) == (Status.PASS, None, "all checks passed", True)


def test_the_stored_runs_are_indexed(tmp_path: Path) -> None:
    """Real ones, of versions that had no ids of checks and named the machine with its engine."""
    stored = [path.parent for path in FIXTURES.rglob("plan.json")]
    for folder in stored:
        shutil.copytree(folder, tmp_path / "-".join(folder.relative_to(FIXTURES).parts))
    with Index.open(tmp_path) as found:
        assert len(found.runs()) == len(stored)
        assert not found.unread
        assert {run.machine_name for run in found.runs(machine="EPYC")} == {"AMD EPYC, 2 cores, 24 GiB"}
        judged = [run for run in found.runs() if run.judged]
        assert len(judged) == len(list(FIXTURES.rglob("verdict.json"))) > 5
        assert all(len(found.values(run.run_id)) > 10 for run in judged)
        assert {run.defects for run in found.runs()} == {False, True}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["a", "b", "c"]),
        ({"drill": "oom"}, ["b"]),
        ({"drill": "model-swap-bad"}, ["c"]),
        ({"status": Status.FAIL}, ["b"]),
        ({"status": Status.INCONCLUSIVE}, []),
        ({"since": BEGAN + dt.timedelta(days=1)}, ["b", "c"]),
        ({"commit": "bbb"}, ["b"]),
        ({"machine": "ffff"}, ["c"]),
        ({"machine": "xeon"}, ["c"]),
        ({"night": "nightly-2026-11-01"}, ["a", "b"]),
        ({"drill": "oom", "night": "nightly-2026-11-02"}, []),
    ],
)
def test_runs_are_filtered(tmp_path: Path, wanted: dict[str, Any], expected: list[str]) -> None:
    """By all that is given together, newest last."""
    swap = {"name": "model-swap-bad", "phases": []}
    machine = {"key": "ffff0000", "name": "Intel Xeon, 8 cores, 64 GiB"}
    write(tmp_path, "c", 2, drill="model-swap", scenario=swap, machine=machine, judged={})
    write(tmp_path, "a", 0)
    write(tmp_path, "b", 1, drill="oom", judged=verdict("FAIL"), git={"commit": "b" * 40, "dirty": True})
    night = {"run_id": "nightly-2026-11-01", "entries": [{"attempts": [{"run_id": "a"}, {"run_id": "b"}]}]}
    (tmp_path / "nightly-2026-11-01").mkdir()
    (tmp_path / "nightly-2026-11-01" / "suite.json").write_text(json.dumps(night))
    with Index.open(tmp_path) as found:
        assert ids(found, **wanted) == expected
        assert not found.unread  # a night's folder is no run, and nothing strange


def broken_plan(folder: Path) -> None:
    """Cut in the middle."""
    (folder / "plan.json").write_text('{"schema": 2, "run_')


def other_schema(folder: Path) -> None:
    """Of a version that this one does not know."""
    (folder / "plan.json").write_text(json.dumps(plan("x", schema=99)))


def no_plan(folder: Path) -> None:
    """Stopped between the folder and its plan."""
    (folder / "plan.json").unlink()


def capacity(folder: Path) -> None:
    """A measurement of capacity is written like a run."""
    (folder / "plan.json").write_text(json.dumps(plan("capacity", drill="capacity")))


def bare_load(folder: Path) -> None:
    """So is load without a drill."""
    (folder / "plan.json").write_text(json.dumps(plan("load", drill="load")))


def pipe(folder: Path) -> None:
    """Whoever reads it waits for ever."""
    no_plan(folder)
    os.mkfifo(folder / "plan.json")


def huge_seed(folder: Path) -> None:
    """A number that no table holds."""
    (folder / "plan.json").write_text(json.dumps(plan("x", seed=10**30)))


def no_time(folder: Path) -> None:
    """An anchor that is none."""
    (folder / "plan.json").write_text(json.dumps(plan("x", anchor={"wall": "yesterday"})))


def deep(folder: Path) -> None:
    """Nested more deeply than any parser follows."""
    (folder / "plan.json").write_text("[" * 100_000)


def lists(folder: Path) -> None:
    """Everything that should be an object is a list."""
    odd: dict[str, Any] = {"git": [1], "topology": [2], "machine": [3], "capacity": [4], "serves": [5], "defects": [6]}
    (folder / "plan.json").write_text(json.dumps(plan("x", **odd)))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (broken_plan, "plan.json: cannot be read as JSON"),
        (other_schema, "plan.json: found schema 99"),
        (no_plan, "there is no plan.json"),
        (capacity, "a measurement of capacity"),
        (bare_load, "load without a drill, and no run"),
        (pipe, "plan.json is no file"),
        (huge_seed, "expected a whole number"),
        (no_time, "ValueError"),
        (deep, "plan.json: cannot be read as JSON"),
        (lists, "AttributeError"),
    ],
)
def test_a_folder_that_is_no_readable_run_is_listed(tmp_path: Path, damage: Callable[[Path], None], why: str) -> None:
    """With its reason, beside the runs that can be read."""
    write(tmp_path, "good")
    damage(write(tmp_path, "bad"))
    with Index.open(tmp_path) as found:
        assert ids(found) == ["good"]
        assert list(reasons(found)) == ["bad"]
        assert why in reasons(found)["bad"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "no verdict"),
        ("{", "verdict.json: cannot be read as JSON"),
        (json.dumps(verdict("GREEN")), "no verdict that can be read"),
        (json.dumps(verdict(checks=[{"status": "PASS"}])), "no verdict that can be read"),
        (json.dumps(verdict(checks=[check("a", "many")])), "no verdict that can be read"),  # type: ignore[arg-type]
        (json.dumps({"schema": 7}), "found schema 7"),
    ],
)
def test_a_run_without_a_verdict_is_one_that_was_not_judged(tmp_path: Path, content: str | None, why: str) -> None:
    """It is shown, as a run of which nothing is known, and it is a gap in its series."""
    write(tmp_path, "before")
    folder = write(tmp_path, "killed", 1, judged={})
    if content is not None:
        (folder / "verdict.json").write_text(content)
    with Index.open(tmp_path) as found:
        (run,) = found.runs(since=BEGAN + dt.timedelta(days=1))
        assert (run.judged, run.status) == (False, Status.INCONCLUSIVE)
        assert why in run.reason
        assert found.values("killed") == []
        (line,) = found.series().values()
        assert [value.value for _, value in line] == [200.0, None]


def test_what_is_no_folder_is_listed(tmp_path: Path) -> None:
    """Links are not followed, files are named; the pointer to the newest run and the index are nothing strange."""
    runs = tmp_path / "runs"
    (runs / "latest").parent.mkdir()
    (runs / "latest").symlink_to(write(runs, "one").name)
    (runs / "away").symlink_to(tmp_path)
    (runs / "notes.txt").write_text("mine")
    (runs / "compare-a-b.html").write_text("")
    (runs / ".hidden").write_text("")
    (runs / "line\nbreak").mkdir()
    os.mkdir(os.fsencode(runs) + b"/\xff")
    for _ in range(2):  # the second time the index is there
        with Index.open(runs) as found:
            assert ids(found) == ["one"]
            assert sorted(reasons(found)) == ["away", "line\nbreak", "notes.txt", "\udcff"]


def test_a_copy_of_a_run_counts_once(tmp_path: Path) -> None:
    """The folder that has the run's name is the run."""
    shutil.copytree(write(tmp_path, "one"), tmp_path / "backup-of-one")
    with Index.open(tmp_path) as found:
        assert [run.folder.name for run in found.runs()] == ["one"]
        assert "a copy" in reasons(found)["backup-of-one"]


def test_text_that_no_file_can_hold_is_indexed(tmp_path: Path) -> None:
    """Half a surrogate pair in a reason, an infinite value, a verdict whose checks share a name."""
    twice = [check("a", float("inf")), check("a", 3.0)]
    write(tmp_path, "odd", judged=verdict("FAIL", twice, reason="half \ud800 a pair"))
    with Index.open(tmp_path) as found:
        assert found.runs()[0].reason == "half \\ud800 a pair"
        assert [(v.series, v.value) for v in found.values("odd")] == [("a", None)]


def test_an_index_of_no_folder_is_empty(tmp_path: Path) -> None:
    """Before the first run there is nothing, and nothing is made."""
    with Index.open(tmp_path / "runs") as found:
        assert found.runs() == []
        assert found.unread == []
    assert not (tmp_path / "runs").exists()


def test_changes_are_noticed(tmp_path: Path) -> None:
    """A new folder, a verdict that came later or was judged again, and a folder that is gone."""
    write(tmp_path, "one", judged={})
    with Index.open(tmp_path) as found:
        assert [run.judged for run in found.runs()] == [False]
    (tmp_path / "one" / "verdict.json").write_text(json.dumps(verdict("FAIL")))
    write(tmp_path, "two", 1)
    with Index.open(tmp_path) as found:
        assert [(run.run_id, run.status) for run in found.runs()] == [("one", Status.FAIL), ("two", Status.PASS)]
    shutil.rmtree(tmp_path / "one")
    with Index.open(tmp_path) as found:
        assert ids(found) == ["two"]
        assert found.values("one") == []


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bringing it up to date costs what has changed; what cannot be read is not tried again either."""
    for number in range(5):
        write(tmp_path, f"run-{number}", number)
    broken_plan(write(tmp_path, "bad"))
    with Index.open(tmp_path) as found:
        before = (ids(found), reasons(found))
    asked: list[str] = []
    monkeypatch.setattr(index, "read", lambda folder: asked.append(folder.name))
    with Index.open(tmp_path) as found:
        assert (ids(found), reasons(found)) == before
    assert asked == []


@pytest.mark.parametrize("content", [b"", b"no table at all", b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_index_is_made_anew(tmp_path: Path, content: bytes) -> None:
    """It is never the only copy."""
    write(tmp_path, "one")
    (tmp_path / FILE).write_bytes(content)
    with Index.open(tmp_path) as found:
        assert ids(found) == ["one"]
    assert sqlite3.connect(tmp_path / FILE).execute("SELECT run_id FROM runs").fetchall() == [("one",)]


def test_an_index_that_is_damaged_inside_is_made_anew(tmp_path: Path) -> None:
    """The head is whole, the pages behind it are not."""
    for number in range(50):
        write(tmp_path, f"run-{number}", number)
    Index.open(tmp_path).close()
    path = tmp_path / FILE
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\x55" * (len(content) - 4096))
    with Index.open(tmp_path) as found:
        assert len(found.runs()) == 50
        assert len(found.values("run-3")) == 1


@pytest.mark.parametrize("version", [0, 999])
def test_an_index_of_another_version_is_made_anew(tmp_path: Path, version: int) -> None:
    """Its columns may mean something else."""
    write(tmp_path, "one")
    Index.open(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as table:
        table.execute("UPDATE runs SET drill = 'of before'")
        table.execute(f"PRAGMA user_version = {version}")
    table.close()
    with Index.open(tmp_path) as found:
        assert [run.drill for run in found.runs()] == ["timeout-spike"]


def test_without_a_place_for_it_the_index_is_in_memory(tmp_path: Path) -> None:
    """Something else has its name: it is left alone, and the runs are listed all the same."""
    write(tmp_path, "one")
    (tmp_path / FILE).mkdir()
    with Index.open(tmp_path) as found:
        assert ids(found) == ["one"]
        assert len(found.values("one")) == 1
    assert (tmp_path / FILE).is_dir()


def opened(runs: Path) -> int:
    """How many runs another process sees."""
    with Index.open(runs) as found:
        return len(found.runs())


def test_several_processes_at_once(tmp_path: Path) -> None:
    """Each sees all runs, and the file is sound afterwards."""
    for number in range(100):
        write(tmp_path, f"run-{number}", number)
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(opened, [tmp_path] * 6)) == [100] * 6
    table = sqlite3.connect(tmp_path / FILE)
    assert table.execute("PRAGMA quick_check").fetchone() == ("ok",)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.is_dir()) == [FILE]


def test_only_what_is_new_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred folders, the one that came, and then the one that changed."""
    for number in range(100):
        write(tmp_path, f"run-{number:04}", number / 10)
    Index.open(tmp_path).close()
    seen, read = list[str](), index.read
    monkeypatch.setattr(index, "read", lambda folder: (seen.append(folder.name), read(folder))[1])
    write(tmp_path, "newest", 200)
    with Index.open(tmp_path) as found:
        assert len(found.runs()) == 101
    (tmp_path / "run-0007" / "events.jsonl").write_text("")
    Index.open(tmp_path).close()
    assert seen == ["newest", "run-0007"]


def test_series_hold_what_is_comparable(tmp_path: Path) -> None:
    """Oldest first; one series per machine, engine and scenario; a mark such as the commit parts nothing."""
    write(tmp_path, "b", 1, judged=ttft(210.0), git={"commit": "b" * 40})
    write(tmp_path, "a", 0, judged=ttft(200.0))
    write(tmp_path, "c", 2, judged=ttft(300.0), machine={"key": "another"})
    write(tmp_path, "d", 3, judged=ttft(400.0), engine="vllm")
    write(tmp_path, "e", 4, judged=ttft(500.0), runtime="docker")
    write(tmp_path, "f", 5, judged=ttft(600.0), written={"name": "timeout-spike", "load": {"rate": "50 %"}})
    write(tmp_path, "g", 6, judged=ttft(700.0), topology={"stack": {"components": [{"role": "gateway"}]}})
    with Index.open(tmp_path) as found:
        lines = [[value.value for _, value in line] for line in found.series().values()]
        assert sorted(lines, key=str) == [[200.0, 210.0], [300.0], [400.0], [500.0], [600.0], [700.0]]
        assert {key.id for key in found.series()} == {TTFT}
        assert SeriesKey(TTFT, found.runs()[0].scenario_digest, "0123abcd", "sim", "process") in found.series()


def test_the_load_fitted_to_another_capacity_is_the_same_series(tmp_path: Path) -> None:
    """The scenario as it was written counts; its sentence for people does not."""
    write(tmp_path, "a", 0, scenario={"name": "timeout-spike", "load": {"rate": 4.0}})
    write(tmp_path, "b", 1, scenario={"name": "timeout-spike", "load": {"rate": 7.5}})
    said = plan("x")["written"] | {"description": "in other words"}
    write(tmp_path, "c", 2, written=said)
    with Index.open(tmp_path) as found:
        assert [len(line) for line in found.series().values()] == [3]


def test_another_target_is_another_series(tmp_path: Path) -> None:
    """What runs against two services is not compared."""
    for number, host in enumerate(("a.example", "b.example")):
        target = {"service": {"scheme": "https", "host": host, "port": 443, "path": ""}, "model": "m"}
        write(tmp_path, host, number, topology={"target": target}, serves={})
    with Index.open(tmp_path) as found:
        assert [len(line) for line in found.series().values()] == [1, 1]
        assert [run.model for run in found.runs()] == ["m", "m"]


def test_what_could_not_be_judged_is_a_gap(tmp_path: Path) -> None:
    """Neither the number in an INCONCLUSIVE run nor that beside an INCONCLUSIVE check is a value."""
    write(tmp_path, "a", 0, judged=ttft(200.0))
    write(tmp_path, "b", 1, judged=ttft(900.0, "INCONCLUSIVE"))
    doubtful = check("slo-ttft-p95-ms", 900.0, "INCONCLUSIVE", phase="baseline")
    write(tmp_path, "c", 2, judged=verdict("FAIL", [doubtful]))
    write(tmp_path, "d", 3, judged=ttft(220.0, "FAIL"))
    with Index.open(tmp_path) as found:
        (line,) = found.series().values()
        assert [value.value for _, value in line] == [200.0, None, None, 220.0]
        assert [value.value for value in found.values("c")] == [None]


def test_a_check_that_was_not_asked_is_no_gap(tmp_path: Path) -> None:
    """A series begins with the version that brings its check."""
    write(tmp_path, "a", 0)
    write(tmp_path, "b", 1, judged=verdict("PASS", [check("new", 1.0)]))
    write(tmp_path, "c", 2, judged=verdict("INCONCLUSIVE", []))
    with Index.open(tmp_path) as found:
        assert {key.id: [value.value for _, value in line] for key, line in found.series().items()} == {
            TTFT: [200.0, None],
            "new": [1.0, None],
        }


@pytest.mark.parametrize("broken", [{"defects": {"sim.slow": "it is slow"}}, {"topology": {"defects": ["no_abort"]}}])
def test_what_was_broken_on_purpose_is_in_no_series(tmp_path: Path, broken: dict[str, Any]) -> None:
    """It is shown, and neither a value nor a good run to compare with."""
    write(tmp_path, "a", 0, **broken)
    write(tmp_path, "b", 1)
    with Index.open(tmp_path) as found:
        first, second = found.runs()
        assert (first.defects, second.defects) == (True, False)
        assert [[run.run_id for run, _ in line] for line in found.series().values()] == [["b"]]
        assert found.last_good(second) is None


def test_the_last_good_run(tmp_path: Path) -> None:
    """The newest earlier PASS of the same scenario on the same machine, engine and runtime."""
    write(tmp_path, "a", 0)
    write(tmp_path, "b", 1)
    write(tmp_path, "c", 2, judged=verdict("FAIL"))
    write(tmp_path, "d", 3, machine={"key": "another"})
    write(tmp_path, "e", 4, judged={})
    write(tmp_path, "future", 400_000)  # a clock was wrong
    with Index.open(tmp_path) as found:
        good = {run.run_id: found.last_good(run) for run in found.runs()}
    assert {name: run and run.run_id for name, run in good.items()} == {
        "a": None, "b": "a", "c": "b", "d": None, "e": "b", "future": "b",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"used": {"provisional": [], "whole": {"rate_per_s": 41.5}, "repeats": 3}}, 41.5),
        ({"used": {"provisional": ["interference: …"], "whole": {"rate_per_s": 41.5}, "repeats": 1}}, None),
        (
            {
                "used": {"provisional": [], "whole": {"rate_per_s": 41.5}, "repeats": 3},
                "measured": {"provisional": [], "whole": {"rate_per_s": 30.0}, "repeats": 1},
            },
            30.0,
        ),
        ({"used": {"provisional": [], "whole": None, "repeats": 1}}, "none"),
        ({"used": None}, "none"),
        ({"used": {"provisional": [], "whole": {"rate_per_s": 10**400}, "repeats": 3}}, "none"),
    ],
)
def test_capacity_is_a_series(tmp_path: Path, known: dict[str, Any], expected: float | str | None) -> None:
    """What was measured last, in requests per second; a provisional one is a gap, and none is none."""
    write(tmp_path, "a", judged=verdict(checks=[]), capacity=known)
    with Index.open(tmp_path) as found:
        assert [(v.series, v.value) for v in found.values("a")] == (
            [] if expected == "none" else [("capacity", expected)]
        )


def test_indicators_of_each_phase_are_series(tmp_path: Path) -> None:
    """Whether an objective asks for them or not."""
    slis = [{"sli": "tps_p50", "phase": "baseline", "value": 61.5, "unit": "tokens/s", "samples": 80}]
    write(tmp_path, "a", judged=verdict(slis=slis))
    with Index.open(tmp_path) as found:
        assert [(v.series, v.value, v.unit, v.samples) for v in found.values("a")] == [
            (TTFT, 200.0, "ms", 80),
            ("tps_p50/baseline", 61.5, "tokens/s", 80),
        ]


def test_runs_of_other_machines_are_merged(tmp_path: Path) -> None:
    """Kept apart by machine; a run that is known here already counts once, and what cannot be read there is listed."""
    here, there = tmp_path / "here", tmp_path / "there"
    write(here, "a", 0, judged=ttft(200.0))
    write(there, "b", 1, judged=ttft(900.0), machine={"key": "another"})
    shutil.copytree(here / "a", there / "a")
    broken_plan(write(there, "bad"))
    with Index.open(here) as found:
        found.merge(there)
        assert ids(found) == ["a", "b"]
        assert [run.folder.parent for run in found.runs()] == [here, there]
        assert [[value.value for _, value in line] for line in found.series().values()] == [[200.0], [900.0]]
        assert found.values("b")[0].value == 900.0
        assert "bad" in reasons(found)


def test_a_last_event_at_no_time_is_passed_over(tmp_path: Path) -> None:
    """The run lasts until the last one whose time is a number that can be."""
    folder = write(tmp_path, "a")
    with (folder / "events.jsonl").open("a") as events:
        events.write(f'{{"t_s": {10**400}, "kind": "load_stopped"}}\n')
    with Index.open(tmp_path) as found:
        assert [run.duration_s for run in found.runs()] == [140.5]
