"""When clients hang up, the engines hear of it: what they run and queue is soon back at what others asked for."""

from __future__ import annotations

import math

from harness.evidence.view import RunView
from harness.judge import aftermath
from harness.judge.aftermath import Aftermath
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status

#: So soon after the last cancel. Measured by hand: 0.1 to 0.6 s for 128 streams on two replicas, looked at ten times a
#: second; what a look itself costs is added.
WITHIN_S = 0.5


@with_arguments
def check(phase: str) -> Check:
    """Whether the requests of every wave in ``phase`` are gone from the engines at once."""
    question = f"Do the engines stop working for clients that hung up in {phase}?"
    needs = frozenset({"metrics", "replicas", f"fault:{phase}"})
    return Check(
        "cancels-reach-engine", _name(phase), question, lambda view: _run(view, phase), needs, timing=True, phase=phase
    )


def _name(phase: str) -> str:
    return f"cancels reach the engines in {phase}"


def _run(view: RunView, phase: str) -> CheckResult:
    name = _name(phase)
    judged = aftermath.judge(view, phase, _kept)
    if not judged.found:
        return CheckResult(name, judged.status, judged.why, f"≤ {WITHIN_S:g} s", phase=phase)
    slowest = max(judged.found, key=lambda one: one.work_back_s.most)
    back, limit = slowest.work_back_s, _limit(slowest)
    seconds = back.least if math.isinf(back.most) else back.most
    zombies = "zombie generation: " if judged.status is Status.FAIL else ""
    return CheckResult(
        name,
        judged.status,
        zombies + _why(slowest),
        f"≤ {limit:.3g} s ({WITHIN_S:g} s + 2 looks of {1000 * _look_s(slowest):.0f} ms)",
        seconds,
        "s",
        limit - seconds,
        len(judged.found),
        phase,
        details={"back_s": [round(one.work_back_s.most, 3) for one in judged.found]},
    )


def _kept(one: Aftermath) -> Status:
    """An engine hears nothing during a step: what may be no more than a long one accuses nobody, and acquits nobody."""
    status = one.work_back_s.within(_limit(one))
    maybe_a_step = status is Status.FAIL and one.work_back_s.least <= _limit(one) + one.step_s
    return Status.INCONCLUSIVE if maybe_a_step else status


def _limit(one: Aftermath) -> float:
    return WITHIN_S + 2 * _look_s(one)


def _look_s(one: Aftermath) -> float:
    return min(one.period_s, aftermath.LOOK_MAX_S)


def _why(one: Aftermath) -> str:
    where, back_s = f"{one.replica} after wave {one.wave.number}", one.work_back_s.most
    if math.isinf(back_s):
        more = one.work_left + aftermath.SYNTHETIC
        return f"{where} still had {more:.0f} streams more than users had asked for when it was last looked at"
    return f"{where} was the last to have only what others had asked for, {back_s:.2f} s after the cancel"
