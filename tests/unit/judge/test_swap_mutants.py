"""Every check of the model-swap drill is green on a healthy run and red on the defect that it exists for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.judge import drill, verdicts
from harness.model.verdict import Status
from tests import swap_runs
from tests.swap_runs import NO_START, PROMOTED, STOPPED
from tests.unit.judge.mutants import assert_red
from tests.unit.judge.swap_mutants import MUTANTS, SwapMutant
from tests.unit.judge.verdicts import whole_verdict

DRILL = drill.load("model-swap")


@pytest.mark.parametrize("name", [PROMOTED, STOPPED, NO_START])
def test_healthy_run_passes(name: str, tmp_path: Path) -> None:
    """A good candidate that is promoted and a bad one that is stopped get PASS from every check and finding."""
    verdict = verdicts.judge(swap_runs.healthy(name).write(tmp_path / "run"), DRILL)
    assert {r.name: r.why for r in (*verdict.validity, *verdict.checks) if r.status is not Status.PASS} == {}
    assert verdict.status is Status.PASS
    numberless = {
        PROMOTED: {"rollback in time"},
        STOPPED: set(),
        NO_START: {"rollout ends as it should", "candidate judged before it gets more"},  # it was no canary
    }[name]
    assert {r.name for r in verdict.checks if r.measured is None or r.margin is None} == numberless


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_mutant_is_noticed(mutant: SwapMutant, tmp_path: Path) -> None:
    """The defect turns the check that it belongs to red, and the verdict with it."""
    run = swap_runs.healthy(mutant.of)
    mutant.defect(run)
    assert_red(run, mutant.check, DRILL, tmp_path / "run", mutant.recount)


@pytest.fixture(scope="module")
def only_planned(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with nothing but a plan."""
    run = swap_runs.healthy()
    run.events, run.requests, run.metrics, run.files = [], run.requests.iloc[:0], run.metrics.iloc[:0], {}
    return run.write(tmp_path_factory.mktemp("planned") / "run")


@pytest.mark.parametrize("check", verdicts.checks(DRILL), ids=lambda c: c.name)
def test_no_data_is_never_a_pass(check: drill.Check, only_planned: RunFolder) -> None:
    """With nothing but a plan, every check by itself says INCONCLUSIVE and why."""
    result = check.run(RunView(only_planned))
    assert result.status is Status.INCONCLUSIVE
    assert result.why


@pytest.mark.parametrize("half", ["ledger", "decision", "end", "samples", "proof"])
@pytest.mark.parametrize("name", [PROMOTED, STOPPED])
def test_half_a_record_proves_nothing(name: str, half: str, tmp_path: Path) -> None:
    """What was not written down, or broke off, or was not sampled is INCONCLUSIVE, never a pass."""
    run = swap_runs.healthy(name)
    if half == "ledger":
        run.files = {}
    elif half == "decision":
        swap_runs.ledger(run).update(decision=None, decided_s=None)
    elif half == "end":
        swap_runs.ledger(run).update(ended=None)
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
    run = swap_runs.healthy(NO_START if made == "it never starts" else PROMOTED)
    if made == "it breaks off":
        swap_runs.abort(run)
    run.plan["scenario"] = swap_runs.healthy().plan["scenario"]
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    results = (*verdict.validity, *verdict.checks)
    assert [r.name for r in results if r.status is not Status.PASS] == ["rollout ends as it should"]
    assert re.search(r"replica-\d could not be used within \d+ s of its start", verdict.reason)
    assert verdict.status is Status.FAIL


def test_a_rollout_that_is_cut_off_is_not_blamed_for_its_heal(tmp_path: Path) -> None:
    """Nothing was decided when the heal gave every replica v1 again: its answers are not held against the record."""
    run = swap_runs.healthy(NO_START)
    data = swap_runs.ledger(run)
    next(event for event in run.events if event["kind"] == "fault_healing")["t_s"] = data["decided_s"]
    data.update(decision=None, decided_s=None, ended=None, stages=[], served=data["served"][:2])
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    assert next(r for r in verdict.checks if r.name == "versions agree").status is Status.PASS
    assert verdict.status is Status.INCONCLUSIVE


def test_a_comparison_that_proves_nothing_is_inconclusive(tmp_path: Path) -> None:
    """Rolled back because nothing could be shown: the rollout was careful, the drill has not seen its gate."""
    run = swap_runs.healthy(STOPPED)
    swap_runs.ledger(run)["decision"]["gate"] = "undecided"
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    assert next(r for r in verdict.checks if r.name == "rollout ends as it should").status is Status.INCONCLUSIVE
    assert verdict.status is Status.INCONCLUSIVE
