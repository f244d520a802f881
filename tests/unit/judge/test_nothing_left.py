"""«Nothing left injected» fails on proof that something is left, and on nothing else: for each fault of each drill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.evidence.view import RunView
from harness.judge import drill
from harness.judge.checks import records
from harness.model.verdict import CheckResult, Status
from tests import runs
from tests.judge import defects, stories
from tests.judge.timeout_spike import mutants
from tests.runs import Run
from tests.unit.judge.verdicts import whole_verdict


def _heals(run: Run) -> list[dict[str, Any]]:
    return [event for event in run.events if event["kind"] == "heal_proven"]


@pytest.mark.parametrize(
    ("why", "at_s", "status"),
    [
        ("still injected: one-replica: its proxy does not answer", 500.0, Status.FAIL),
        ("still injected: one-replica: its proxy does not answer", 0.5, Status.PASS),  # it was healed after that
        ("not ready 60 s after the heal: replica-1", 500.0, Status.PASS),
    ],
)
def test_a_clean_up_that_says_still_injected_is_believed(why: str, at_s: float, status: Status, tmp_path: Path) -> None:
    """Unless every heal was proven later; that a component is slow to come back is for other checks."""
    run = runs.healthy()
    run.events.append({"t_s": at_s, "kind": "cleanup_problem", "why": why})
    assert _judged(run, tmp_path / "run").status is status


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([{"id": "a", "action": "start", "args": {}}, {"done": "a"}], Status.PASS),
        ([{"id": "a", "action": "start", "args": {}}], Status.INCONCLUSIVE),
        ([{"id": "a", "action": "start", "args": {}}, {"done": "b"}], Status.INCONCLUSIVE),
    ],
)
def test_an_undo_record_that_is_open_may_be_something_left(
    lines: list[dict[str, Any]], status: Status, tmp_path: Path
) -> None:
    """Whatever the events say: who healed has not noted that it was rolled back."""
    run = runs.healthy()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "undo.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = _judged(run, tmp_path / "run")
    assert found.status is status
    assert status is Status.PASS or "undo journal" in found.why


def _judged(run: Run, folder: Path) -> CheckResult:
    run.requests, run.metrics = run.requests.iloc[:0], run.metrics.iloc[:0]  # it looks at events alone
    return records.nothing_left_injected().run(RunView(run.write(folder)))


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"left": "what is there"}, Status.FAIL),
        ({"left": ""}, Status.INCONCLUSIVE),
        ({"left": None}, Status.INCONCLUSIVE),
        ({}, Status.INCONCLUSIVE),
    ],
    ids=["something is left", "a slow service", "nobody tells", "no word of it"],
)
@pytest.mark.parametrize("name", drill.names())
def test_left_is_a_fail_and_slow_is_not(name: str, told: dict[str, Any], status: Status, tmp_path: Path) -> None:
    """In both directions, for each fault of the drill; the reason names the fault, and what is left of it."""
    run = stories.healthy(name)
    for number, event in enumerate(_heals(run)):
        healed = dict(event)
        event |= {"kind": "heal_unproven", **told}
        found = _judged(run, tmp_path / str(number))
        assert found.status is status, found.why
        assert event["fault"] in found.why
        assert str(told.get("left") or "") in found.why
        event.clear()
        event |= healed


@pytest.mark.parametrize("name", drill.names())
def test_healthy_runs_pass(name: str, tmp_path: Path) -> None:
    """What the defects above are put into has none."""
    assert _judged(stories.healthy(name), tmp_path / "run").status is Status.PASS


FAULT_EVENTS = ("fault_injecting", "fault_injected", "fault_healing", "fault_healed", "heal_proven")


def test_a_run_that_injected_nothing_has_no_number_of_faults(tmp_path: Path) -> None:
    """It holds, and says why; a heal that was not proven, of a fault that was injected, is still no PASS."""
    run = runs.healthy()
    run.events = [event for event in run.events if event["kind"] not in FAULT_EVENTS]
    found = _judged(run, tmp_path / "none")
    assert (found.status, found.measured, found.samples) == (Status.PASS, None, 0)
    assert found.why == "nothing was injected, so nothing had to be healed"
    run = runs.healthy()
    run.events = [event for event in run.events if event["kind"] != "heal_proven"]
    found = _judged(run, tmp_path / "unproven")
    assert (found.status, found.measured) == (Status.INCONCLUSIVE, 0.0)


def test_slow_service_after_the_heal_spoils_no_other_check(tmp_path: Path) -> None:
    """Nothing is left, so recovery is judged by the checks for it: the run is not PASS, and no other check suffers."""
    run = runs.healthy()
    defects.heal_unproven(run, left="")
    verdict = whole_verdict(run.write(tmp_path / "run"), drill.load("timeout-spike"))
    assert verdict.status is Status.INCONCLUSIVE, verdict.reason
    others = {c.name: c.status for c in verdict.checks if c.id != "nothing-left-injected"}
    assert set(others.values()) == {Status.PASS}, others


def test_service_that_never_comes_back_is_still_a_fail(tmp_path: Path) -> None:
    """Of recovery, which its own check names."""
    run = runs.healthy()
    defects.heal_unproven(run, left="")
    mutants.slow_recovery_one(run)
    run.recount()
    defects.assert_red(run, "recovery after one-replica", drill.load("timeout-spike"), tmp_path / "run")
