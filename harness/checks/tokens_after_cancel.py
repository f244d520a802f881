"""Next to nothing is generated for a stream that was cancelled."""

from __future__ import annotations

from harness import aftermath
from harness.aftermath import Aftermath
from harness.checks.cancels_reach_engine import WITHIN_S
from harness.drill import Check
from harness.verdict import CheckResult, Status
from harness.view import RunView
from stack.topology import REPLICAS


def check(phase: str) -> Check:
    """Whether replicas made no more tokens after the cancels of ``phase`` than until these had to be there."""
    question = f"Do the engines make no tokens for streams that were cancelled in {phase}?"
    needs = frozenset({"metrics", "replicas", f"fault:{phase}"})
    return Check(_name(phase), question, lambda view: _run(view, phase), needs)


def _name(phase: str) -> str:
    return f"tokens after the cancels in {phase}"


def _run(view: RunView, phase: str) -> CheckResult:
    name, objective = _name(phase), f"≤ {WITHIN_S:g} s of the replica's own pace"
    try:
        found = [
            (aftermath.after(view, wave, replica), WITHIN_S * aftermath.fastest(view, replica))
            for wave in aftermath.waves_of(view, phase)
            for replica in REPLICAS
        ]
    except aftermath.Unknown as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), objective, phase=phase)
    worst, limit = max(found, key=lambda item: item[0].tokens - item[1])
    made = max(worst.tokens, 0.0)
    objective = f"≤ {limit:.0f} tokens ({WITHIN_S:g} s × {limit / WITHIN_S:.0f} tokens/s)"
    status = Status.PASS if made <= limit else Status.FAIL
    return CheckResult(name, status, _why(worst, made), objective, made, "tokens", limit - made, len(found), phase)


def _why(one: Aftermath, made: float) -> str:
    return f"{one.replica} made {made:.0f} tokens after wave {one.wave.number} that no user can have got"
