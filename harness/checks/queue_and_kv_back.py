"""After a wave of cancels the queue and the KV cache are soon as they were."""

from __future__ import annotations

import math

from harness import aftermath
from harness.drill import Check
from harness.verdict import CheckResult, Status
from harness.view import RunView
from stack.topology import REPLICAS


def check(phase: str, within_s: float) -> Check:
    """Whether every wave of ``phase`` has left queue and KV cache of every replica ``within_s`` after its end."""
    question = f"Are queue and KV cache free of cancelled requests {within_s:g} s after each wave of {phase}?"
    needs = frozenset({"metrics", "replicas", f"fault:{phase}"})
    return Check(_name(phase), question, lambda view: _run(view, phase, within_s), needs)


def _name(phase: str) -> str:
    return f"queue and KV cache back after {phase}"


def _run(view: RunView, phase: str, within_s: float) -> CheckResult:
    name, objective = _name(phase), f"≤ {within_s:.6g} s"
    try:
        waves = aftermath.waves_of(view, phase)
        found = [aftermath.after(view, wave, replica) for wave in waves for replica in REPLICAS]
    except aftermath.Unknown as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), objective, phase=phase)
    what, slowest, seconds = max(
        ((what, one, s) for one in found for what, s in (("queue", one.waiting_back_s), ("KV cache", one.kv_back_s))),
        key=lambda item: item[2],
    )
    where = f"the {what} of {slowest.replica} after wave {slowest.wave.number}"
    if math.isinf(seconds):
        why = f"{where} still held more than users had asked for when it was last looked at"
        return CheckResult(name, Status.FAIL, why, objective, samples=len(found), phase=phase)
    why = f"{where} was the last to be back, {seconds:.2f} s after the cancel"
    status = Status.PASS if seconds <= within_s else Status.FAIL
    return CheckResult(name, status, why, objective, seconds, "s", within_s - seconds, len(found), phase)
