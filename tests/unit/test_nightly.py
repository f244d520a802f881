"""A night: its order, what it does after each end, how it goes on, and what it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from harness.cli import nightly
from harness.cli.nightly import write
from harness.judge import drill
from harness.model import night as nights
from harness.model import redact
from harness.model.errors import RecordError, RunFolderError, ScenarioError, UsageError
from harness.model.night import Attempt, Entry, Night
from harness.model.suite import Suite
from harness.model.verdict import Status
from harness.plan import suite
from harness.run import notify
from harness.run import suite as runner
from harness.run.outcome import Outcome, stopped
from harness.run.suite import Launcher, Order

SCHEMA = Path(__file__).parents[1] / "fixtures" / "ctrf.schema.json"
PASS, FAIL, UNDECIDED = "PASS", "FAIL", "INCONCLUSIVE"
SUITE = Suite.model_validate(
    {
        "name": "small",
        "budget": "60m",
        "runtimes": ["process"],
        "engines": ["sim"],
        "entries": [{"drill": name} for name in ("timeout-spike", "oom", "cancel-storm", "model-swap")],
    }
)


@dataclass
class Scripted(Launcher):
    """Drills that end as they are told to; the first ``usual`` that is said of a drill is of its first run."""

    ends: dict[str, list[str]] = field(default_factory=dict)
    took_s: float = 60.0
    killed_at: int = 10**6
    trouble: str = ""
    seen: list[tuple[str, int]] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    downs: int = 0

    def drill(self, entry: Entry, night: Night, seed: int) -> Outcome:
        """The next end of its list, PASS where there is none."""
        if len(self.seen) == self.killed_at:
            raise KeyboardInterrupt
        before = sum(name == entry.id for name, _ in self.seen)
        self.seen.append((entry.id, seed))
        ends = self.ends.get(entry.drill, [])
        end = ends[before] if before < len(ends) else PASS
        if end in Status.__members__:
            return Outcome(end, None, f"{end} | of it", self.took_s, f"run-{len(self.seen)}", Status(end).exit_code)
        return Outcome(end, None, "it said so", self.took_s, code=int(end.split()[1]))

    def set_up(self, entry: Entry, night: Night) -> str:
        """As it was told."""
        return self.trouble

    def down(self, entry: Entry, night: Night) -> None:
        """Counted."""
        self.downs += 1

    def in_use(self, night: Night) -> str:
        """Those who were named, one after the other."""
        return self.users.pop() if self.users else ""


def played(runs: Path, launcher: Scripted, resume: bool = False, **order: object) -> Night:
    """The small suite, with drills that end as the launcher says."""
    return runner.night(Order(SUITE, runs=runs, seed=7, **order), lambda _: None, launcher, resume).night  # type: ignore[arg-type]


def matrix(night: Night) -> list[tuple[str, str | None, list[str]]]:
    """What people compare: how each entry ended, and all its attempts."""
    return [(one.id, one.status, [a.status.value for a in one.attempts]) for one in night.entries]


def test_it_goes_on_after_a_fail(tmp_path: Path) -> None:
    """The other drills are run, and the state on disk is what was returned."""
    night = played(tmp_path, Scripted({"oom": [FAIL]}))
    assert sorted(entry.status or "" for entry in night.entries) == [FAIL, PASS, PASS, PASS]
    assert night.ended is not None
    assert nights.read(tmp_path / night.run_id) == night


@pytest.mark.parametrize(
    ("ends", "status", "attempts"),
    [
        ([UNDECIDED, PASS], PASS, [UNDECIDED, PASS]),
        ([UNDECIDED, FAIL], FAIL, [UNDECIDED, FAIL]),
        ([UNDECIDED, UNDECIDED], UNDECIDED, [UNDECIDED, UNDECIDED]),
        ([FAIL], FAIL, [FAIL]),
        (["exit 70"], PASS, [UNDECIDED, PASS]),
    ],
)
def test_only_what_was_not_judged_is_tried_once_more(
    tmp_path: Path, ends: list[str], status: str, attempts: list[str]
) -> None:
    """Both attempts are kept; a FAIL is an answer."""
    night = played(tmp_path, Scripted({"oom": ends}))
    (found,) = [entry for entry in night.entries if entry.drill == "oom"]
    assert (found.status, [attempt.status.value for attempt in found.attempts]) == (status, attempts)


def test_a_machine_that_lacks_what_a_drill_needs_has_not_run_it(tmp_path: Path) -> None:
    """Exit 64 before there is a run: the reason is kept, and the night is no PASS."""
    night = played(tmp_path, Scripted({"oom": ["exit 64"]}))
    (found,) = [entry for entry in night.entries if entry.drill == "oom"]
    assert (found.status, found.attempts, found.not_run) == (None, (), "exit 64: it said so")
    assert night.exit_code(regressed=False) == 2


def test_failed_set_up_is_said_of_each(tmp_path: Path) -> None:
    """Nothing is begun without its parts."""
    launcher = Scripted(trouble="set-up failed: no wheel")
    night = played(tmp_path, launcher)
    assert {entry.not_run for entry in night.entries} == {"set-up failed: no wheel"}
    assert launcher.seen == []


def test_the_seed_makes_order_and_seeds(tmp_path: Path) -> None:
    """The same seed, the same night."""
    one, other, third = Scripted(), Scripted(), Scripted()
    for number, (launcher, seed) in enumerate(((one, 1), (other, 1), (third, 2))):
        order = Order(SUITE, runs=tmp_path / str(number), seed=seed)
        runner.night(order, lambda _: None, launcher)
    assert one.seen == other.seen != third.seen
    assert sorted(name for name, _ in one.seen) == sorted(name for name, _ in third.seen)


@pytest.mark.parametrize("after", range(4))
def test_one_that_was_cut_off_ends_with_the_same_matrix(tmp_path: Path, after: int) -> None:
    """Wherever it was cut off."""
    ends = {"oom": [FAIL], "model-swap": [UNDECIDED, PASS]}
    whole = played(tmp_path / "whole", Scripted(dict(ends)))
    cut = tmp_path / "cut"
    first = Scripted(dict(ends), killed_at=after)
    with pytest.raises(KeyboardInterrupt):
        played(cut, first)
    assert first.downs == 1
    (folder,) = nights.folders(cut)
    assert nights.read(folder).ended is None
    # what it had not written down is run again
    second = Scripted(dict(ends), seen=list(first.seen))
    night = played(cut, second, resume=True)
    assert matrix(night) == matrix(whole)
    assert second.seen == Scripted(dict(ends)).seen or len(second.seen) == 5
    nights.write(folder, night.model_copy(update={"told": True}))
    with pytest.raises(UsageError, match="nothing to resume"):
        played(cut, Scripted(), resume=True)


def test_a_budget_that_is_spent_is_said(tmp_path: Path) -> None:
    """What no longer fits is not run, with both times."""
    night = played(tmp_path, Scripted(took_s=300.0), budget_s=1000.0)
    assert [entry.not_run.partition(":")[0] for entry in night.entries] == ["", "", "", "budget"]
    # the next night knows how long each took
    night = played(tmp_path, Scripted(took_s=300.0), budget_s=1000.0)
    assert sum(bool(entry.not_run) for entry in night.entries) == 1
    assert night.run_id.endswith("-2")
    assert night.exit_code(regressed=False) == 2


def test_a_drill_that_was_never_run_needs_the_time_of_its_phases(tmp_path: Path) -> None:
    """It is not begun where they cannot end within the budget."""
    launcher = Scripted()
    night = played(tmp_path, launcher, budget_s=30.0)
    assert launcher.seen == []
    assert all(entry.not_run.startswith("budget: 0.5 min are left, its phases take ") for entry in night.entries)


def test_a_suite_takes_a_file_of_ones_own(tmp_path: Path) -> None:
    """By its path; the entry has its stem as its name, and a file that is not there is one line."""
    path = tmp_path / "suite.yaml"
    mine = drill.ROOT / "tests" / "drills" / "short.yaml"
    text = "name: mine\nbudget: 9m\nentries:\n  - {drill: timeout-spike, scenario: %s}\n"
    path.write_text(text % mine)
    (entry,) = suite.load(path).planned(1, ["process"], ["sim"])
    assert (entry.id, entry.scenario, suite.file_of(entry)) == ("short/process/sim", "short", mine)
    assert suite.length_s(entry) == 57.0
    path.write_text(text % (tmp_path / "gone.yaml"))
    with pytest.raises(ScenarioError, match=r"suite\.yaml:4: .*gone\.yaml"):
        suite.load(path)


def test_a_stack_that_is_in_use_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a bounded time; then its user is named."""
    monkeypatch.setattr(runner.time, "sleep", lambda _: None)
    night = played(tmp_path, Scripted(users=["a run of oom (pid 7)"] * 3))
    assert night.status is Status.PASS
    monkeypatch.setattr(runner, "IN_USE_S_MAX", -1.0)
    night = played(tmp_path, Scripted(users=["a run of oom (pid 7)"]))
    assert [entry.not_run for entry in night.entries if entry.not_run] == [
        "the stack is in use by a run of oom (pid 7)"
    ]


def test_two_at_once_the_second_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    """And the first one's death frees it."""
    program = (
        "import sys, time; from pathlib import Path; from harness.recover import lock\n"
        "with lock.held(Path(sys.argv[1]), 'a night', print): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / runner.LOCK)]
    with subprocess.Popen(command, cwd=drill.ROOT, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with pytest.raises(UsageError, match=rf"nightly run .* in use by a night \(pid {other.pid}\)"):
                played(tmp_path, Scripted())
        finally:
            other.kill()
    assert played(tmp_path, Scripted()).status is Status.PASS


def test_a_signal_ends_the_drill_first_and_leaves_the_rest(tmp_path: Path) -> None:
    """The program as a process: what it had done is in the state, and it says how to go on."""
    program = (
        "import signal, sys; from pathlib import Path; from harness.cli import nightly\n"
        "from harness.model.errors import *\n"
        "from tests.unit.test_nightly import Waiting\n"
        "wanted = nightly.Wanted(engine='sim', runtime='process')\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)  # as harness/__main__.py does\n"
        "try: nightly.nightly(wanted, launcher=Waiting(), runs=Path(sys.argv[1]))\n"
        "except Interrupted as e: print(e); sys.exit(e.exit_code)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=drill.ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "--resume" in out
    (folder,) = nights.folders(tmp_path)
    assert nights.read(folder).ended is None


class Waiting(Scripted):
    """A drill that goes on until it is interrupted."""

    def drill(self, entry: Entry, night: Night, seed: int) -> Outcome:
        """Never ends."""
        (Path(sys.argv[1]) / "begun").touch()
        signal.pause()
        raise AssertionError


def a_night(*ends: Sequence[str], hostile: str = "") -> Night:
    """A night with an entry for each list of statuses; an empty list was not run."""

    def attempt(status: str) -> Attempt:
        return Attempt(run_id="run-1", status=Status(status), exit_code=1, reason=f"why {hostile}", duration_s=61.25)

    entries = tuple(
        Entry(
            id=f"drill-{number}{hostile}/process/sim",
            drill=f"drill-{number}",
            scenario="s",
            runtime="process",
            engine="sim",
            attempts=tuple(map(attempt, statuses)),
            status=Status(statuses[-1]) if statuses else None,
            not_run="" if statuses else f"budget {hostile}",
        )
        for number, statuses in enumerate(ends)
    )
    return Night.model_validate(
        {
            "suite": "nightly",
            "run_id": "nightly-2026-11-28",
            "seed": 1,
            "started": "2026-11-28T02:00:00Z",
            "ended": "2026-11-28T03:00:00Z",
            "commit": "abc",
            "machine": "m",
            "entries": entries,
        }
    )


@pytest.mark.parametrize(
    ("ends", "regressed", "code"),
    [
        ([[PASS], [PASS]], False, 0),
        ([[PASS], [PASS]], True, 3),
        ([[PASS], [UNDECIDED, UNDECIDED]], False, 2),
        ([[PASS], [UNDECIDED, UNDECIDED]], True, 3),
        ([[PASS], []], False, 2),
        ([[FAIL], [UNDECIDED]], True, 1),
    ],
)
def test_exit_codes(ends: list[list[str]], regressed: bool, code: int) -> None:
    """FAIL before regression before INCONCLUSIVE before PASS."""
    assert a_night(*ends).exit_code(regressed) == code


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("seed",), "1", "seed"),
        (("started",), "2026-11-28T02:00:00", "started"),
        (("typo",), 1, "typo"),
        (("entries", 0, "status"), "GREEN", "entries.0.status"),
        (("entries", 0, "attempts", 0, "duration_s"), -1.0, "duration_s"),
        (("entries", 0, "attempts", 0, "exit_code"), True, "exit_code"),
    ],
)
def test_a_state_is_read_strictly(tmp_path: Path, path: tuple[str | int, ...], value: object, says: str) -> None:
    """No value is bent until it fits: the error names file and place, in one line."""
    nights.write(tmp_path, a_night([PASS]))
    data = place = json.loads((tmp_path / nights.FILE).read_text())
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    (tmp_path / nights.FILE).write_text(json.dumps(data))
    with pytest.raises(RunFolderError, match=says) as error:
        nights.read(tmp_path)
    assert str(tmp_path / nights.FILE) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_state_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Nobody could go on with what is not on disk."""
    with pytest.raises(RecordError, match=r"suite\.json"):
        nights.write(tmp_path / "gone", a_night([PASS]))


def test_a_drill_hears_of_the_end_where_ctrl_c_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under nohup it would ignore SIGINT like the night, and be killed before it has healed."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as drill_:
            monkeypatch.setattr("harness.run.outcome._STOPS_WITHIN_S", 30.0)
            assert stopped(drill_) == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGINT, before)


HOSTILE = " | <script>alert(1)</script> [x](http://h) `a`\n# b \x1b[31m"


def test_what_it_writes_counts_each_entry_once(tmp_path: Path) -> None:
    """In all three files, whatever names and reasons hold."""
    night = a_night([PASS], [FAIL], [UNDECIDED, PASS], [], hostile=HOSTILE)
    write(tmp_path, night)
    summary = (tmp_path / "summary.md").read_text()
    rows = [line for line in summary.splitlines() if line.startswith("| drill\\-") or line.startswith("| drill-")]
    assert len(rows) == 4
    assert "<script>" not in summary
    assert "`" not in summary.replace("\\`", "")  # a code span ends at a mark in a name
    assert "](http" not in summary
    assert "\x1b" not in summary
    assert all(len(row.replace("\\|", "").split("|")) == 7 for row in rows)
    cases = ElementTree.fromstring((tmp_path / "junit.xml").read_text())
    assert [cases.get(name) for name in ("tests", "failures", "errors")] == ["4", "1", "1"]
    assert [child.tag for case in cases for child in case if child.tag != "properties"] == ["failure", "error"]
    report = json.loads((tmp_path / "ctrf.json").read_text())
    jsonschema.validate(report, json.loads(SCHEMA.read_text()))
    counted = report["results"]["summary"]
    assert [counted[name] for name in ("tests", "passed", "failed", "other")] == [4, 2, 1, 1]
    assert [test.get("flaky") for test in report["results"]["tests"]] == [None, None, True, None]
    counts = ("1 of 4 failed (", "; 2 passed; ", "; 1 not run (")
    assert all(count.replace("(", "\\(") in summary.splitlines()[0] for count in counts)


def test_three_nights_without_a_verdict_are_worse_and_people_hear_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole command: exit code 3 from the third night on, in the summary, on the page, and to the receiver."""
    told = tmp_path / "told"
    monkeypatch.setenv("NOTIFY_COMMAND", f"sh -c 'cat >> {told}; echo >> {told}'")
    runs = tmp_path / "runs"
    undecided = {"oom": [UNDECIDED, UNDECIDED]}
    codes = []
    for ends in (undecided, undecided, undecided, {"oom": [FAIL]}, {}):
        codes.append(nightly.nightly(nightly.Wanted(suite="nightly"), launcher=Scripted(ends), runs=runs))
    assert codes == [2, 2, 3, 1, 0]
    third = nights.folders(runs)[2]
    summary = (third / "summary.md").read_text()
    assert summary.startswith("# REGRESSION: ")
    assert "Became worse" in summary
    assert "/index.html; that of a run: runs/RUN/report.html" in summary
    assert "3 nights running" in (third / "index.html").read_text()
    kinds = [json.loads(line)["kind"] for line in told.read_text().splitlines()]
    assert kinds == ["regression", "fail", "recovered"]


class NotJudged(Scripted):
    """What could not be judged was too small for the machine."""

    def drill(self, entry: Entry, night: Night, seed: int) -> Outcome:
        """The next end, with its cause."""
        ended = super().drill(entry, night, seed)
        return replace(ended, cause="too_small") if ended.status == UNDECIDED else ended


def test_a_drill_that_can_no_longer_be_judged_is_worse_until_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole command: not in the first night ever, exit code 3 from the night on that follows one with a verdict."""
    told = tmp_path / "told"
    monkeypatch.setenv("NOTIFY_COMMAND", f"sh -c 'cat >> {told}; echo >> {told}'")
    undecided = {"oom": [UNDECIDED, UNDECIDED]}
    codes = [
        nightly.nightly(nightly.Wanted(suite="nightly"), launcher=NotJudged(ends), runs=tmp_path / "runs")
        for ends in (undecided, {}, undecided, undecided, {})
    ]
    assert codes == [2, 0, 3, 3, 0]
    assert [json.loads(line)["kind"] for line in told.read_text().splitlines()] == ["regression", "recovered"]
    night = nights.folders(tmp_path / "runs")[2]
    assert "no verdict since the night of" in (night / "summary.md").read_text()


def test_people_hear_of_a_fail_even_where_its_page_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours stays one; it does not silence the night."""
    told = tmp_path / "told"
    monkeypatch.setenv("NOTIFY_COMMAND", f"sh -c 'cat >> {told}'")
    monkeypatch.setattr(nightly.pages, "write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        nightly.nightly(nightly.Wanted(), launcher=Scripted({"oom": [FAIL]}), runs=tmp_path / "runs")
    assert json.loads(told.read_text())["kind"] == "fail"


def test_resume_tells_what_was_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A night that was killed between its end and its notification: no drill is run again, and it is told once."""
    told, runs = tmp_path / "told", tmp_path / "runs"
    monkeypatch.setenv("NOTIFY_COMMAND", f"sh -c 'cat >> {told}; echo >> {told}'")
    monkeypatch.setattr(nightly, "tell", interrupted)
    with pytest.raises(KeyboardInterrupt):
        nightly.nightly(nightly.Wanted(), launcher=Scripted({"oom": [FAIL]}), runs=runs)
    monkeypatch.setattr(nightly, "tell", notify.tell)
    (folder,) = nights.folders(runs)
    before = nights.read(folder)
    assert before.ended is not None
    assert before.told is False
    again = Scripted()
    assert nightly.nightly(nightly.Wanted(resume=True), launcher=again, runs=runs) == 1
    assert again.seen == []
    assert nights.read(folder) == before.model_copy(update={"told": True})
    assert [json.loads(line)["kind"] for line in told.read_text().splitlines()] == ["fail"]
    with pytest.raises(UsageError, match="nothing to resume"):
        nightly.nightly(nightly.Wanted(resume=True), launcher=again, runs=runs)


def interrupted(*_: object) -> None:
    """As a signal does it."""
    raise KeyboardInterrupt


def test_resume_refuses_what_the_night_was_not_begun_with(tmp_path: Path) -> None:
    """A damaged night that is newer is passed over; the same settings may be said again."""
    with pytest.raises(KeyboardInterrupt):
        played(tmp_path, Scripted(killed_at=1))
    (tmp_path / "nightly-2999-01-01").mkdir()
    (tmp_path / "nightly-2999-01-01" / nights.FILE).write_text("{")
    for wrong in ({"budget_s": 1.0}, {"engines": ("vllm",)}, {"runtimes": ("docker",)}):
        with pytest.raises(UsageError, match="as it was begun"):
            played(tmp_path, Scripted(), resume=True, **wrong)
    assert played(tmp_path, Scripted(), resume=True, engines=("sim",)).ended is not None


def test_what_is_kept_holds_no_secret(tmp_path: Path) -> None:
    """Whatever a program said that could not be set up."""
    redact.learn("tok-5f0c9a7e11")
    night = played(tmp_path, Scripted(trouble="no wheel at tok-5f0c9a7e11"))
    assert "tok-5f0c9a7e11" not in (tmp_path / night.run_id / nights.FILE).read_text()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"schema": 2}', "\xff", None])
def test_a_damaged_state_is_one_error(tmp_path: Path, damage: str | None) -> None:
    """Which names the file."""
    nights.write(tmp_path, a_night([PASS]))
    assert nights.read(tmp_path) == a_night([PASS])
    if damage is None:
        (tmp_path / nights.FILE).unlink()
    else:
        (tmp_path / nights.FILE).write_text(damage, encoding="latin-1")
    with pytest.raises(RunFolderError, match=r"suite\.json"):
        nights.read(tmp_path)


def test_the_shipped_suite_has_every_scenario() -> None:
    """A scenario that is shipped is drilled every night; a service that is not ours never is."""
    shipped = {path.stem for path in (drill.ROOT / "scenarios").glob("*.yaml") if ".external" not in path.name}
    assert {item.scenario or item.drill for item in suite.load(suite.find(suite.DEFAULT)).entries} == shipped


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("entries:\n  - drill: oomm\n", 4, "did you mean 'oom'"),
        ("entries:\n  - {drill: oom, scenario: none}\n", 4, "no such file"),
        ("entries:\n  - {drill: oom, engines: [gpu]}\n", 4, "expected one of vllm, sim"),
        ("entries:\n  - {drill: oom, runtimes: [external]}\n", 4, "found 'external'"),
        ("entries:\n  - drill: oom\n  - drill: oom\n", 5, "stands twice"),
        ("entries:\n  - {drill: oom, often: 2}\n", 4, "unknown key"),
        ("entires:\n  - drill: oom\n", 3, "unknown key 'entires'; did you mean 'entries'?"),
        ("entries: []\n", 3, "at least 1"),
    ],
)
def test_a_suite_that_is_wrong_is_one_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    """With file, line, and what to write instead."""
    path = tmp_path / "suite.yaml"
    path.write_text(f"name: x\nbudget: 10m\n{text}")
    with pytest.raises(ScenarioError, match=words) as told:
        suite.load(path)
    assert told.value.line == line
