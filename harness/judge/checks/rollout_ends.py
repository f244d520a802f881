"""The rollout ends as it should: a good candidate is promoted, a poor one stopped by the gate that is there for it."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.checks import of_rollout
from harness.judge.drill import Check, with_arguments
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status


@with_arguments
def check(phase: str) -> Check:
    """Whether it ended as the scenario expects (``expect``, ``stopped_by`` of the fault)."""
    name = "rollout ends as it should"
    question = "Was the candidate promoted or stopped as it deserves, and by the right gate?"
    return Check(
        "rollout-ends-as-expected",
        name,
        question,
        lambda view: _run(view, name, phase),
        frozenset({f"fault:{phase}"}),
        timing=False,
        phase=phase,
    )


def _run(view: RunView, name: str, phase: str) -> CheckResult:
    try:
        rollout, wanted = of_rollout.recorded(view), of_rollout.wanted(view, phase)
        decided = of_rollout.decided_s(rollout)
    except NotMeasured as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), phase=phase)
    assert rollout.decision is not None  # it was decided
    gates = ", ".join(wanted.stopped_by)
    objective = wanted.expect + (f" by {gates}" if gates else "")
    if rollout.ended is None:
        return CheckResult(name, Status.INCONCLUSIVE, "the rollout has not come to its end", objective, phase=phase)
    if rollout.broken is not None:
        why = f"it should have been {objective}, but {rollout.candidate.version} was {rollout.ended}: {rollout.broken}"
        return CheckResult(name, Status.FAIL, why, objective, phase=phase)
    gate = rollout.decision.gate or "all gates"
    found = f"{rollout.candidate.version} was {rollout.ended}: {gate}: {rollout.decision.why}"
    if rollout.decision.gate == "undecided":
        return CheckResult(name, Status.INCONCLUSIVE, found, objective, phase=phase)
    right = rollout.ended == wanted.expect and (not gates or rollout.decision.gate in wanted.stopped_by)
    canary = of_rollout.canary(rollout)
    took = decided - canary.began_s if canary else None
    when = "before any user could meet it" if took is None else f"{took:.1f} s after the first user could meet it"
    return CheckResult(
        name,
        Status.PASS if right else Status.FAIL,
        f"{found if right else f'it should have been {objective}, but {found}'} ({when})",
        objective,
        took,
        "s",
        0.0 if right and canary else None,
        len(rollout.probes),
        phase,
        details={"candidate": rollout.candidate.measured, "stable": rollout.stable.measured},
    )
