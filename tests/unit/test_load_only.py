"""Load without a drill: what may be asked for, what is refused, and what is shown."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.adapters.load import Window
from harness.cli import load, main
from harness.cli.load import Wanted
from harness.evidence.record import LOAD, EventLog, RunFolder
from harness.judge import drill
from harness.model import sparse
from harness.model.errors import ScenarioError, UsageError
from harness.model.scenario import LONGEST_S, Share
from harness.model.topology import Topology
from harness.plan import runtime
from harness.recover import lock
from harness.recover.leftovers import verdicts
from harness.recover.leftovers.base import Processes, Site
from harness.run import load_only
from harness.run.load_only import figures, outcome_line
from harness.run.progress import Progress
from stack import state
from stack.stacks.vllm_haproxy import STACK
from tests.unit.test_up_and_down import OPTIONS, Stack, stack

__all__ = ["stack"]  # a fixture
SPIKE = drill.ROOT / "scenarios" / "timeout-spike.yaml"
TOPOLOGY = Topology(STACK, engine="sim", instance=61)


def asked(*words: str, monkeypatch: pytest.MonkeyPatch) -> Wanted:
    """What the program makes of these words after ``load``."""
    found: list[Wanted] = []
    monkeypatch.setattr(load, "load", lambda options, wanted: found.append(wanted) or 0)
    assert main.main(["load", *words]) == 0
    return found[0]


def test_what_was_typed_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario, rate, time, seed and workers; the command can be typed again."""
    words = ["oom", "--rate", "40 % of capacity", "--for", "60s", "--seed", "7", "--workers", "2"]
    wanted = asked(*words, monkeypatch=monkeypatch)
    assert (wanted.scenario, wanted.rate, wanted.lasts) == ("oom", "40 % of capacity", "60s")
    assert (wanted.seed, wanted.workers) == (7, 2)
    assert wanted.command.endswith("-m harness load oom --rate '40 % of capacity' --for 60s --seed 7 --workers 2")


def test_nothing_typed_is_the_usual_scenario_until_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the scenario's own rate."""
    monkeypatch.delenv("WORKERS", raising=False)
    wanted = asked(monkeypatch=monkeypatch)
    assert (wanted.scenario, wanted.rate, wanted.lasts, wanted.seed, wanted.workers) == (load.DEFAULT, *[None] * 4)


def test_where_nothing_runs_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what to do."""
    monkeypatch.setattr(runtime, "running", lambda options: None)
    with pytest.raises(UsageError, match=r"instance 61: nothing runs.*make up"):
        load.load(OPTIONS, Wanted("command"))


def test_a_stack_in_use_is_left_alone(stack: Stack) -> None:
    """Whoever holds its lock is named; and while load is on, a drill is refused by the same lock."""
    held = lock.held(state.instance_folder(stack.topology) / lock.RUN, "a run of oom", print)
    with held, pytest.raises(UsageError, match="in use by a run of oom"):
        load.load(OPTIONS, Wanted("command"))


def test_load_holds_the_lock(stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Under a name that says what it is."""
    seen: list[lock.Seen] = []

    def put(order: load_only.Order, root: Path) -> RunFolder:
        """Looks at the lock."""
        seen.append(lock.look(state.instance_folder(stack.topology) / lock.RUN))
        return RunFolder(tmp_path)

    monkeypatch.setattr(load_only, "put", put)
    monkeypatch.setattr(load_only, "summary", lambda folder: ["all is well"])
    out = io.StringIO()
    assert load.load(OPTIONS, Wanted("command", rate="8/s"), Console(file=out)) == 0
    assert seen[0].held
    assert seen[0].name.startswith("load without a drill (pid ")
    assert out.getvalue().splitlines()[0] == "all is well"


def test_a_service_of_others_gets_no_load_without_a_drill(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would have no stop condition."""
    other: Any = type("Other", (), {"topology": type("T", (), {"target": object()})})
    monkeypatch.setattr(runtime, "running", lambda options: (other, "it runs"))
    with pytest.raises(UsageError, match="did not start: load goes there in a drill only"):
        load.load(OPTIONS, Wanted("command"))


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Wanted("c", scenario="timeout-spkie"), "no scenario 'timeout-spkie': did you mean 'timeout-spike'"),
        (Wanted("c", scenario="no/such.yaml"), "no/such.yaml"),
        (Wanted("c", rate="8"), "--rate: found '8', expected a rate above zero with its unit"),
        (Wanted("c", rate="0 % of capacity"), "--rate: found '0 % of capacity'"),
        (Wanted("c", lasts="60"), "--for: found '60', expected a duration with its unit"),
        (Wanted("c", lasts="0s"), "--for: found '0s', expected more than nothing"),
    ],
)
def test_what_is_wrong_is_told_before_anything_begins(wanted: Wanted, says: str, stack: Stack) -> None:
    """With what was found and what was expected."""
    with pytest.raises((UsageError, ScenarioError), match=re.escape(says)):
        load.load(OPTIONS, wanted)
    assert not lock.look(state.instance_folder(stack.topology) / lock.RUN).held


def test_it_is_the_scenarios_baseline_and_nothing_else() -> None:
    """No fault, objective or stop condition; what the objectives mean for one request is kept for the live figures."""
    found, limits = load_only.baseline(SPIKE, TOPOLOGY)
    assert [(phase.name, phase.kind, phase.faults, phase.duration) for phase in found.phases] == [
        ("baseline", "baseline", (), LONGEST_S)
    ]
    assert (found.slos, found.abort_when) == ((), ())
    assert found.load.rate == Share(40, without_replica=True)
    assert limits["chat"].ttft_ms == 800


def test_a_rate_of_ones_own_needs_no_samples() -> None:
    """The objectives of a drill ask for many; nobody judges this load."""
    found, _ = load_only.baseline(SPIKE, TOPOLOGY, "6/m", 2.5)
    assert (found.load.per_s, found.phases[0].duration) == (0.1, 2.5)


def window(t_s: float, scheduled: int, ttfts_ms: tuple[float, ...] = (), **outcomes: int) -> Window:
    """Half a second of load in which so many had been scheduled since the beginning, all begun."""
    ended = {name: count for name, count in outcomes.items() if name != "started"}
    ok = ended.get("ok", 0)
    return Window(
        t_s, scheduled, 3, outcomes.get("started", 0), ok, sum(ended.values()) - ok, None, 1.0, ended,
        ttft_ms=sparse.counts(ttfts_ms),
    )  # fmt: skip


def test_figures_are_of_the_windows_after_the_first() -> None:
    """Rates over the time between them, outcomes by name, TTFT with its number of samples, what is in flight."""
    shown = figures(
        [
            window(1.0, 10, (9000.0,), ok=50, http_5xx=7, started=50),
            window(1.5, 14, (100.0, 100.0), ok=2, http_5xx=1, timeout_ttft=2, started=4),
            window(2.0, 19, (100.0,), ok=1, started=4),
        ]
    )
    assert "offered 9.0/s, achieved 8.0/s" in shown
    assert "ok 3  not ok 3: timeout_ttft 2, http_5xx 1" in shown
    assert re.search(r"TTFT p50 (9\d|10\d) ms, p95 (9\d|10\d) ms \(3 good requests\)", shown)
    assert shown.endswith("in flight 3")


def test_what_was_not_measured_is_no_number() -> None:
    """Neither before there are two windows nor without a good answer."""
    assert figures([]) == figures([window(1.0, 1)]) == "load on, no figures yet"
    assert "TTFT not measured" in figures([window(1.0, 1), window(1.5, 2, http_5xx=1)])


def test_what_was_not_sent_is_the_generators_fault() -> None:
    """It is no failure of the service."""
    assert outcome_line({"ok": 5, "not_sent": 2}) == "ok 5  not ok 0  NOT SENT 2 (the load generator's own fault)"
    assert outcome_line({"ok": 5}) == "ok 5  not ok 0"


def test_plain_lines_come_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """One a second would fill a log."""
    clock = [1000.0]
    monkeypatch.setattr("harness.run.progress.time.monotonic", lambda: clock[0])
    text = io.StringIO()
    shown = Progress(Console(file=text, width=200))
    for _ in range(60):
        shown.figures("offered 8.0/s", load_only.FIGURES_S)
        clock[0] += load_only.EVERY_S
    assert len(text.getvalue().splitlines()) == 6


def plan_of(folder: RunFolder, name: str) -> None:
    """What an interrupted load, or run, of instance 0 leaves."""
    folder.write_json(
        "plan.json",
        {
            "schema": 2, "run_id": folder.path.name, "drill": name, "scenario": {}, "instance": 0,
            "instance_id": "mine", "anchor": {"mono_s": 0.0, "wall": "2026-11-01T12:00:00+00:00"},
        },
    )  # fmt: skip
    EventLog(folder, 0.0).close()


def test_a_folder_of_load_is_no_run_without_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor judges dead runs of drills only, and ``latest`` is the last drill."""
    monkeypatch.setattr(state, "known_identity", lambda folder: "mine")
    runs = tmp_path / "runs"
    plan_of(RunFolder.create(runs, "20261101-120000-oom-0001"), "oom")
    plan_of(RunFolder.create(runs, "load-20261101-120001", latest=False), LOAD)
    assert (runs / "latest").readlink().name == "20261101-120000-oom-0001"
    site = Site(0, tmp_path / "0", runs, Processes({}, {}))
    assert [re.findall(r"run (\S+) has no verdict", found.what) for found in verdicts.find(site)] == [
        ["20261101-120000-oom-0001"]
    ]
