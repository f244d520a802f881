"""Next to nothing is generated for a stream that was cancelled."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge import aftermath
from harness.judge.aftermath import Aftermath
from harness.judge.checks.cancels_reach_engine import WITHIN_S
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status


@with_arguments
def check(phase: str) -> Check:
    """Whether replicas made no more tokens after the cancels of ``phase`` than until these had to be there."""
    question = f"Do the engines make no tokens for streams that were cancelled in {phase}?"
    needs = frozenset({"metrics", "replicas", f"fault:{phase}"})
    return Check(
        "tokens-after-cancel", _name(phase), question, lambda view: _run(view, phase), needs, timing=True, phase=phase
    )


def _name(phase: str) -> str:
    return f"tokens after the cancels in {phase}"


def _run(view: RunView, phase: str) -> CheckResult:
    name, objective = _name(phase), f"≤ {WITHIN_S:g} s of the replica's own pace"
    try:
        limits = {replica: WITHIN_S * aftermath.fastest(view, replica) for replica in view.replicas}
    except aftermath.Unknown as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), objective, phase=phase)
    judged = aftermath.judge(view, phase, lambda one: one.tokens.within(limits[one.replica]))
    if not judged.found:
        return CheckResult(name, judged.status, judged.why, objective, phase=phase)
    red = judged.status is Status.FAIL
    made, one = max(
        ((_shown(one, red), one) for one in judged.found), key=lambda item: item[0] - limits[item[1].replica]
    )
    limit = limits[one.replica]
    objective = f"≤ {limit:.0f} tokens ({WITHIN_S:g} s × {limit / WITHIN_S:.0f} tokens/s)"
    most = "" if red else " at most"
    why = f"{one.replica} made {made:.0f} tokens{most} after wave {one.wave.number} that no user can have got"
    return CheckResult(name, judged.status, why, objective, made, "tokens", limit - made, len(judged.found), phase)


def _shown(one: Aftermath, red: bool) -> float:
    """What is sure: that many at least where too many were made, at most where they were few."""
    return max(one.tokens.least if red else one.tokens.most, 0.0)
