"""What the checks of the model-swap drill say of rollouts that broke off, and of records of which half is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.judge import drill
from harness.model.verdict import Status
from tests.judge.model_swap import story as swap_story
from tests.judge.model_swap.story import NO_START, PROMOTED, STOPPED
from tests.unit.judge.verdicts import whole_verdict

DRILL = drill.load("model-swap")


@pytest.mark.parametrize("half", ["ledger", "decision", "end", "samples", "proof"])
@pytest.mark.parametrize("name", [PROMOTED, STOPPED])
def test_half_a_record_proves_nothing(name: str, half: str, tmp_path: Path) -> None:
    """What was not written down, or broke off, or was not sampled is INCONCLUSIVE, never a pass."""
    run = swap_story.healthy(name)
    if half == "ledger":
        run.files = {}
    elif half == "decision":
        swap_story.ledger(run).update(decision=None, decided_s=None)
    elif half == "end":
        swap_story.ledger(run).update(ended=None)
    elif half == "samples":
        run.metrics = run.metrics[run.metrics["metric"].ne("server_weight")]
    else:
        for event in run.events:
            if event["kind"] == "fault_proven":
                event |= {"kind": "fault_unproven", "why": "the fault had no effect: it is the same process"}
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    assert verdict.status is Status.INCONCLUSIVE, verdict.reason


@pytest.mark.parametrize("made", ["it never starts", "it breaks off"])
def test_a_candidate_that_does_not_start_is_one_red_check(made: str, tmp_path: Path) -> None:
    """Where it should have been promoted: the headline says why, and nothing else is red."""
    run = swap_story.healthy(NO_START if made == "it never starts" else PROMOTED)
    if made == "it breaks off":
        swap_story.abort(run)
    run.plan["scenario"] = swap_story.healthy().plan["scenario"]
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    results = (*verdict.validity, *verdict.checks)
    assert [r.name for r in results if r.status is not Status.PASS] == ["rollout ends as it should"]
    assert re.search(r"replica-\d could not be used within \d+ s of its start", verdict.reason)
    assert verdict.status is Status.FAIL


def test_a_rollout_that_is_cut_off_is_not_blamed_for_its_heal(tmp_path: Path) -> None:
    """Nothing was decided when the heal gave every replica v1 again: its answers are not held against the record."""
    run = swap_story.healthy(NO_START)
    data = swap_story.ledger(run)
    next(event for event in run.events if event["kind"] == "fault_healing")["t_s"] = data["decided_s"]
    data.update(decision=None, decided_s=None, ended=None, stages=[], served=data["served"][:2])
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    assert next(r for r in verdict.checks if r.name == "versions agree").status is Status.PASS
    assert verdict.status is Status.INCONCLUSIVE


def test_a_comparison_that_proves_nothing_is_inconclusive(tmp_path: Path) -> None:
    """Rolled back because nothing could be shown: the rollout was careful, the drill has not seen its gate."""
    run = swap_story.healthy(STOPPED)
    swap_story.ledger(run)["decision"]["gate"] = "undecided"
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    assert next(r for r in verdict.checks if r.name == "rollout ends as it should").status is Status.INCONCLUSIVE
    assert verdict.status is Status.INCONCLUSIVE
