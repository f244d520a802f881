"""When clients hang up, the engines hear of it: what they run is soon back at what others have running."""

from __future__ import annotations

import math

from harness import aftermath
from harness.drill import Check
from harness.verdict import CheckResult, Status
from harness.view import RunView
from stack.topology import REPLICAS

#: So soon after the last cancel. Measured by hand: 0.1 to 0.6 s for 128 streams on two replicas, looked at ten times a
#: second; what a look itself costs is added.
WITHIN_S = 0.5


def check(phase: str) -> Check:
    """Whether the running requests of every wave in ``phase`` are gone from the engines at once."""
    question = f"Do the engines stop working for clients that hung up in {phase}?"
    needs = frozenset({"metrics", "replicas", f"fault:{phase}"})
    return Check(_name(phase), question, lambda view: _run(view, phase), needs)


def _name(phase: str) -> str:
    return f"cancels reach the engines in {phase}"


def _run(view: RunView, phase: str) -> CheckResult:
    name = _name(phase)
    try:
        waves = aftermath.waves_of(view, phase)
        found = [aftermath.after(view, wave, replica) for wave in waves for replica in REPLICAS]
    except aftermath.Unknown as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), f"≤ {WITHIN_S:g} s", phase=phase)
    slowest = max(found, key=lambda one: one.running_back_s)
    limit = WITHIN_S + 2 * slowest.period_s
    objective = f"≤ {limit:.3g} s ({WITHIN_S:g} + 2 looks of {slowest.period_s * 1000:.0f} ms)"
    details = {"waves": len(waves), "back_s": [round(one.running_back_s, 3) for one in found]}
    where = f"{slowest.replica} after wave {slowest.wave.number}"
    if math.isinf(slowest.running_back_s):
        why = (
            f"zombie generation: {where} still ran {slowest.running_left + aftermath.SYNTHETIC:.0f} streams more than "
            f"users had when it was last looked at"
        )
        return CheckResult(name, Status.FAIL, why, objective, samples=len(found), phase=phase, details=details)
    late = slowest.running_back_s > limit
    why = f"{where} was the last to run only what others had asked for, {slowest.running_back_s:.2f} s after the cancel"
    return CheckResult(
        name,
        Status.FAIL if late else Status.PASS,
        f"zombie generation: {why}" if late else why,
        objective,
        slowest.running_back_s,
        "s",
        limit - slowest.running_back_s,
        len(found),
        phase,
        details=details,
    )
