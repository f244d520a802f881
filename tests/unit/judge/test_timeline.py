"""The run kept to the timeline of its plan: phases, the requests in them, and the order of each fault's proofs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.evidence.view import RunView
from harness.judge.finding import Finding
from harness.judge.phases_as_planned import phases_as_planned, requests_in_their_phase
from harness.judge.presence import AGAIN_BEFORE_S
from harness.judge.proofs_in_order import proofs_in_order
from harness.model.lease import LEASE_S
from harness.model.verdict import Status
from tests import runs
from tests.judge import stories
from tests.judge.cancel_storm import story as wave_story
from tests.judge.model_swap import story as swap_story
from tests.judge.oom import story as oom_story
from tests.runs import Run

Rule = Callable[[RunView], Iterator[Finding]]
RULES = (phases_as_planned, requests_in_their_phase, proofs_in_order)
FAULT = "one-replica/latency/gateway-a-to-replica-2"


def problems(run: Run, folder: Path, rule: Rule) -> str:
    """What is not as it should be, in the sentences of the findings."""
    found = rule(RunView(run.write(folder)))
    return "; ".join(one.result.why for one in found if one.result.status is not Status.PASS)


def event(run: Run, kind: str, **data: Any) -> dict[str, Any]:
    """The first event of that kind with these data."""
    return next(e for e in run.events if e["kind"] == kind and all(e.get(k) == v for k, v in data.items()))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", stories.names())
def test_healthy(name: str, rule: Rule, tmp_path: Path) -> None:
    """A run in which all went as planned has nothing to be found."""
    assert problems(stories.healthy(name), tmp_path / "run", rule) == ""


@pytest.mark.parametrize("rule", [phases_as_planned, proofs_in_order], ids=lambda rule: rule.__name__)
def test_an_interrupted_run_has_its_own_reason(rule: Rule, tmp_path: Path) -> None:
    """Whatever it lacks: no second one."""
    run = runs.healthy()
    run.events = [e for e in run.events if e["t_s"] < 60] + [{"t_s": 60.0, "kind": "interrupted", "signal": "SIGINT"}]
    assert problems(run, tmp_path / "run", rule) == ""


def _shorter(run: Run) -> None:
    event(run, "phase_ended", phase="baseline")["t_s"] -= 1


def _twice(run: Run) -> None:
    run.events.append({**event(run, "phase_started", phase="baseline"), "t_s": 20.0})


def _overlap(run: Run) -> None:
    event(run, "phase_ended", phase="warm-up")["t_s"] += 3


def _exchanged(run: Run) -> None:
    for kind in ("phase_started", "phase_ended"):
        one, other = (event(run, kind, phase=phase) for phase in ("recovery-one", "recovery-all"))
        one["phase"], other["phase"] = other["phase"], one["phase"]


def _unsettled(run: Run) -> None:
    event(run, "phase_settled", phase="recovery-one")["unsettled"] = ["alerts"]


def _not_settled(run: Run) -> None:
    run.drop_events("phase_settled", phase="recovery-one")


def _load_off(run: Run) -> None:
    event(run, "load_stopped")["t_s"] = run.span("recovery-all")[1] - 5


def _load_late(run: Run) -> None:
    event(run, "load_started")["t_s"] = run.span("warm-up")[0] + 1


def _not_asked(run: Run) -> None:
    run.drop_events("steady_state", phase="recovery-one")


def _asked_too_early(run: Run) -> None:
    event(run, "steady_state", phase="recovery-one")["t_s"] -= 10


@pytest.mark.parametrize(
    ("defect", "why"),
    [
        (_shorter, "baseline lasted 29.1 s, planned: 30 s"),
        (_twice, "baseline began where baseline ended by the plan"),
        (_overlap, "baseline began where warm-up ended by the plan"),
        (_exchanged, "recovery-all began where recovery-one began by the plan"),
        (_unsettled, "and alerts had not come to its end; planned: 40 s then"),
        (_not_settled, "whether what recovery-one was to wait for came is not recorded"),
        (_load_off, "the load was off before recovery-all ended"),
        (_load_late, "the load was not on when the first phase began"),
        (_not_asked, "the steady state after recovery-one was not asked for before what follows"),
        (_asked_too_early, "the steady state after recovery-one was not asked for before what follows"),
    ],
)
def test_phases_of_another_plan(defect: Callable[[Run], None], why: str, tmp_path: Path) -> None:
    """Shorter, doubled, overlapping, out of order, not waited for, without load or without a steady state."""
    run = runs.healthy()
    defect(run)
    assert why in problems(run, tmp_path / "run", phases_as_planned)


def test_load_in_the_quiet_phase(tmp_path: Path) -> None:
    """It is quiet only without load."""
    run = wave_story.healthy()
    event(run, "load_stopped")["t_s"] = run.span("quiet")[0] + 1
    assert "the load was still on when quiet began" in problems(run, tmp_path / "run", phases_as_planned)


@pytest.mark.parametrize(("later_s", "found"), [(LEASE_S - 1, False), (LEASE_S + 1, True)])
def test_longer_than_planned(later_s: float, found: bool, tmp_path: Path) -> None:
    """A slow machine ends a phase late; by more than a lease nobody does who is still there. When it was is known."""
    run = runs.healthy()
    since = run.span("baseline")[1]
    for one in (e for e in run.events if e["t_s"] >= since):
        one["t_s"] += later_s
    (finding,) = phases_as_planned(RunView(run.write(tmp_path / "run")))
    assert (finding.result.status is Status.INCONCLUSIVE) is found
    assert (finding.window is not None) is found


def test_a_fault_that_was_waited_for_makes_its_phase_longer(tmp_path: Path) -> None:
    """What is proven or healed late is waited for."""
    run = runs.healthy()
    for one in (e for e in run.events if e["t_s"] >= event(run, "fault_healed", phase="all-replicas")["t_s"]):
        one["t_s"] += 2 * LEASE_S
    assert problems(run, tmp_path / "run", phases_as_planned) == ""


@pytest.mark.parametrize("column", ["phase", "straddles"])
def test_columns_are_computed_again(column: str, tmp_path: Path) -> None:
    """One request in another phase, or with a fault that it never met, is named with what its times say."""
    run = runs.healthy()
    one = run.requests.index[run.in_phase("baseline")][3]
    run.requests[column] = run.requests[column].astype(object)
    run.requests.loc[one, column] = "all-replicas"
    run.phases_stay = True
    why = problems(run, tmp_path / "run", requests_in_their_phase)
    assert f"request {run.requests['request_id'][one]} is recorded" in why
    assert "all-replicas, its times say " in why


def test_columns_that_were_lost(tmp_path: Path) -> None:
    """Of a run that ended they are not made up; one that was cut off had them never."""
    run = runs.healthy()
    run.requests, run.phases_stay = run.requests.assign(phase=None, straddles=None), True
    assert "recorded in phase none, its times say" in problems(run, tmp_path / "whole", requests_in_their_phase)
    run.events.append({"t_s": 50.0, "kind": "interrupted", "signal": "SIGKILL"})
    assert problems(run, tmp_path / "cut off", requests_in_their_phase) == ""


def _moved(kind: str, by_s: float) -> Callable[[Run], None]:
    def defect(run: Run) -> None:
        event(run, kind, fault=FAULT)["t_s"] += by_s

    return defect


def _lost(kind: str) -> Callable[[Run], None]:
    return lambda run: run.drop_events(kind, fault=FAULT)


#: What the injector records of every fault, however its proofs end.
STEPS = ("fault_injecting", "fault_injected", "fault_healing", "fault_healed")


def _proven_twice(run: Run) -> None:
    run.events.append({**event(run, "fault_proven", fault=FAULT), "t_s": 60.0})


@pytest.mark.parametrize(
    ("defect", "why"),
    [
        (_moved("fault_injecting", -1), "fault_injecting"),
        (_moved("fault_injected", 10), "fault_proven"),
        (_moved("fault_proven", -3.99), "before fault_injected"),
        (_moved("fault_proven", 40), "before fault_proven"),
        (_moved("fault_healed", -0.5), "before fault_healing"),
        (_moved("fault_healed", 5), "the end of one-replica"),
        (_moved("heal_proven", -1), "before the end of one-replica"),
        (_moved("heal_proven", 60), "the steady state after recovery-one"),
        (_moved("fault_proven_again", -AGAIN_BEFORE_S), "planned: from"),
        (_proven_twice, "fault_proven was recorded 2 times"),
        *((_lost(kind), f"{kind} is not recorded") for kind in STEPS),
    ],
)
def test_proofs_out_of_order(defect: Callable[[Run], None], why: str, tmp_path: Path) -> None:
    """Proven before it was injected, healed before it was proven, and so on, of one fault of several."""
    run = runs.healthy()
    defect(run)
    found = problems(run, tmp_path / "run", proofs_in_order)
    assert FAULT in found
    assert why in found


def _killed_first(run: Run) -> None:
    event(run, "fault_step", step="killed")["t_s"] = event(run, "fault_step", step="killing")["t_s"] - 0.005


def _asked_before(run: Run) -> None:
    event(run, "ask", phase="oversized")["t_s"] = run.span("oversized")[0] - 1


@pytest.mark.parametrize(
    ("defect", "why"),
    [
        (_killed_first, "its step «killed»"),
        (_asked_before, "ask at"),
    ],
)
def test_what_was_done_in_another_order(defect: Callable[[Run], None], why: str, tmp_path: Path) -> None:
    """Steps come one after the other, and a client that is the fault asks while it is on."""
    run = oom_story.healthy()
    defect(run)
    assert why in problems(run, tmp_path / "run", proofs_in_order)


def test_a_wave_before_its_fault(tmp_path: Path) -> None:
    """Its ledger says when it began."""
    run = wave_story.healthy()
    run.files["waves.json"]["waves"][0]["began_s"] -= 5
    assert "its wave 1 at" in problems(run, tmp_path / "run", proofs_in_order)


def test_what_stayed_was_rolled_back_under_load(tmp_path: Path) -> None:
    """Users would have felt it: it waits for the end of the load."""
    run = swap_story.healthy()
    stays = event(run, "fault_stays")["fault"]
    event(run, "fault_healed", fault=stays)["t_s"] = event(run, "load_stopped")["t_s"] - 2
    assert "before the end of the load" in problems(run, tmp_path / "run", proofs_in_order)
