"""As many streams run side by side after all the cancels as before them."""

from __future__ import annotations

from harness import aftermath
from harness.drill import Check
from harness.verdict import CheckResult, Status
from harness.view import RunView
from stack.topology import REPLICAS

#: Of the streams that ran at once before. The most that is seen in a look depends on when it is taken.
SHARE = 0.9


def check(before: str, after: str) -> Check:
    """Whether each replica ran as many streams at once in the wave of ``after`` as in the same wave of ``before``."""
    question = f"Do as many streams run side by side in {after} as in {before}?"
    needs = frozenset({"metrics", "replicas", f"fault:{before}", f"fault:{after}"})
    return Check(_name(after), question, lambda view: _run(view, before, after), needs)


def _name(after: str) -> str:
    return f"full concurrency in {after}"


def _run(view: RunView, before: str, after: str) -> CheckResult:
    name, objective = _name(after), f"≥ {SHARE:.0%} of what ran in {before}"
    try:
        most = {replica: (_most(view, before, replica), _most(view, after, replica)) for replica in REPLICAS}
    except aftermath.Unknown as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), objective, phase=after)
    replica, (then, now) = min(most.items(), key=lambda item: item[1][1] / item[1][0])
    share = now / then
    why = f"{replica} ran up to {now:.0f} streams at once in {after}, {then:.0f} in {before}"
    status = Status.PASS if share >= SHARE else Status.FAIL
    margin = 100 * (share - SHARE)
    return CheckResult(name, status, why, objective, 100 * share, "%", margin, len(most), after)


def _most(view: RunView, phase: str, replica: str) -> float:
    """The most that ran at once while a wave of ``phase`` was on."""
    samples = view.metrics(replica, "wave_running")
    values = [
        float(samples["value"][samples["t_s"].between(wave.began_s, wave.cancelled_s + 0.2)].max())
        for wave in aftermath.waves_of(view, phase)
        if wave.cancelled_s is not None
    ]
    if not values or not max(values) > 0:
        raise aftermath.Unknown(f"{replica} was not seen to run anything during the wave of {phase}")
    return max(values)
