"""What only the timeout-spike drill is asked: by external targets, and without a part of its records."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.evidence.view import RunView
from harness.judge import drill, verdicts
from harness.model.verdict import CheckResult, Status
from tests import runs
from tests.judge.defects import ok
from tests.judge.timeout_spike.mutants import EXTERNAL, ONE, as_external
from tests.unit.judge.verdicts import whole_verdict

DRILL = drill.load("timeout-spike")
STALLS = "stalls with a slow link"


def results(verdict: verdicts.Verdict) -> dict[str, CheckResult]:
    """The checks of a verdict by name."""
    return {result.name: result for result in verdict.checks}


def test_an_external_run_passes(tmp_path: Path) -> None:
    """What only an external target is asked is green without a defect."""
    run = runs.healthy()
    as_external(run)
    found = results(whole_verdict(run.write(tmp_path / "run"), DRILL))
    assert {check: found[check].why for check in EXTERNAL if found[check].status is not Status.PASS} == {}


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
