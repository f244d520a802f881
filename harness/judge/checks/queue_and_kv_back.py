"""After a wave of cancels the queue and the KV cache are soon as they were."""

from __future__ import annotations

import math

from harness.evidence.view import RunView
from harness.judge import aftermath
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, worst


@with_arguments
def check(phase: str, within_s: float) -> Check:
    """Whether every wave of ``phase`` has left queue and KV cache of every replica ``within_s`` after its end."""
    question = f"Are queue and KV cache free of cancelled requests {within_s:g} s after each wave of {phase}?"
    needs = frozenset({"metrics", "replicas", f"fault:{phase}"})
    return Check(
        "queue-and-kv-back",
        _name(phase),
        question,
        lambda view: _run(view, phase, within_s),
        needs,
        timing=True,
        phase=phase,
    )


def _name(phase: str) -> str:
    return f"queue and KV cache back after {phase}"


def _run(view: RunView, phase: str, within_s: float) -> CheckResult:
    name, objective = _name(phase), f"≤ {within_s:.6g} s"
    judged = aftermath.judge(
        view, phase, lambda one: worst(back.within(within_s) for back in (one.waiting_back_s, one.kv_back_s))
    )
    if not judged.found:
        return CheckResult(name, judged.status, judged.why, objective, phase=phase)
    what, slowest, back = max(
        (
            (what, one, b)
            for one in judged.found
            for what, b in (("queue", one.waiting_back_s), ("KV cache", one.kv_back_s))
        ),
        key=lambda item: item[2].most,
    )
    where = f"the {what} of {slowest.replica} after wave {slowest.wave.number}"
    seconds, why = back.most, f"{where} was the last to be back, {back.most:.2f} s after the cancel"
    if math.isinf(back.most):
        seconds = back.least
        why = f"{where} still held more than users had asked for when it was last looked at"
    return CheckResult(name, judged.status, why, objective, seconds, "s", within_s - seconds, len(judged.found), phase)
