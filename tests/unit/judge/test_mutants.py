"""Every check is green on a healthy run and red on the defect that it exists for."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.judge import drill, verdicts
from harness.model.verdict import CheckResult, Status
from tests import runs
from tests.unit.judge.mutants import EXTERNAL, MUTANTS, ONE, Mutant, as_external, assert_red, ok
from tests.unit.judge.verdicts import verdict_on, whole_verdict

DRILL = drill.load("timeout-spike")
STALLS = "stalls with a slow link"


def results(verdict: verdicts.Verdict) -> dict[str, CheckResult]:
    """The checks of a verdict by name."""
    return {result.name: result for result in verdict.checks}


def test_healthy_run_passes(tmp_path: Path) -> None:
    """A service that did everything right gets PASS from every single check and finding, each with its numbers."""
    verdict = verdicts.judge(runs.healthy_run(tmp_path / "run"), DRILL)
    assert {r.name: r.why for r in (*verdict.validity, *verdict.checks) if r.status is not Status.PASS} == {}
    assert verdict.status is Status.PASS
    assert len({r.name for r in verdict.checks}) == len(verdict.checks), "a red check is known by its name alone"
    assert all(
        r.objective and r.measured is not None and r.margin is not None and r.margin >= 0 for r in verdict.checks
    )


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_mutant_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    """The defect turns the check that it belongs to red, and the verdict with it."""
    run = runs.healthy()
    mutant.defect(run)
    assert_red(run, mutant.check, DRILL, tmp_path / "run", mutant.recount)


def test_an_external_run_passes(tmp_path: Path) -> None:
    """What only an external target is asked is green without a defect."""
    run = runs.healthy()
    as_external(run)
    found = results(whole_verdict(run.write(tmp_path / "run"), DRILL))
    assert {check: found[check].why for check in EXTERNAL if found[check].status is not Status.PASS} == {}


@pytest.mark.parametrize("check", EXTERNAL)
def test_mutant_of_an_external_run_is_noticed(check: str, tmp_path: Path) -> None:
    """What only an external target is asked is red with its defect."""
    run = runs.healthy()
    EXTERNAL[check](run)
    run.recount()
    as_external(run)
    (found,) = verdict_on(run.write(tmp_path / "run"), DRILL, check).checks
    assert found.status is Status.FAIL, found.why


@pytest.mark.parametrize(("silent_ms", "red"), [(0.0, set()), (11500.0, {STALLS, "end to end with a slow link"})])
def test_an_external_target_may_answer_in_one_event(silent_ms: float, red: set[str], tmp_path: Path) -> None:
    """It passes without really streaming; not where its streams are silent after that event while the link is slow."""
    run = runs.healthy()
    rows = ok(run)
    run.requests.loc[rows, ["content_events", "max_stall_ms"]] = [1, None]
    slow = rows & run.in_phase(ONE)
    run.requests.loc[slow, ["e2e_ms", "e2e_from_schedule_ms"]] += silent_ms
    run.recount()
    as_external(run)
    verdict = whole_verdict(run.write(tmp_path / "run"), DRILL)
    found = {r.name: r.why for r in (*verdict.validity, *verdict.checks) if r.status is not Status.PASS}
    assert found.keys() == red, found


@pytest.fixture(scope="module")
def only_planned(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with nothing but a plan."""
    run = runs.healthy()
    run.events, run.requests, run.metrics = [], run.requests.iloc[:0], run.metrics.iloc[:0]
    return run.write(tmp_path_factory.mktemp("planned") / "run")


@pytest.mark.parametrize("check", verdicts.checks(DRILL), ids=lambda c: c.name)
def test_no_data_is_never_a_pass(check: drill.Check, only_planned: RunFolder) -> None:
    """With nothing but a plan, every check by itself says INCONCLUSIVE and why."""
    result = check.run(RunView(only_planned))
    assert result.status is Status.INCONCLUSIVE
    assert result.why


@pytest.mark.parametrize(
    ("missing", "checks"),
    [
        (
            "requests",
            {"no hang", "honest", "no silent truncation", "client retries", "recovery", "conservation"},
        ),
        ("metrics", {"gateways eject", "gateways readmit", "upstream amplification", "no abandoned generation"}),
        ("events", {"gateways eject", "gateways readmit", "steady state", "recovery", "nothing left injected"}),
    ],
)
def test_missing_part_is_never_a_pass(missing: str, checks: set[str], tmp_path: Path) -> None:
    """Each check that rests on the missing part says INCONCLUSIVE by itself, not only by the run's validity."""
    run = runs.healthy()
    setattr(run, missing, [] if missing == "events" else getattr(run, missing).iloc[:0])
    view = RunView(run.write(tmp_path / "run"))
    found = {c.name: c.run(view).status for c in verdicts.checks(DRILL) if c.name.startswith(tuple(checks))}
    assert len(found) >= len(checks)
    assert set(found.values()) == {Status.INCONCLUSIVE}, found
