"""As many streams run side by side after all the cancels as before them."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge import aftermath
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status

#: Of the streams that ran at once before. The most that is seen in a look depends on when it is taken.
SHARE = 0.9
#: What a look shows may be as old as the engine's last step.
SEEN_LATE_S = 0.2


@with_arguments
def check(before: str, after: str) -> Check:
    """Whether each replica ran as many streams at once in the wave of ``after`` as in the same wave of ``before``."""
    question = f"Do as many streams run side by side in {after} as in {before}?"
    needs = frozenset({"metrics", "replicas", f"fault:{before}", f"fault:{after}"})
    return Check(
        "full-concurrency",
        _name(after),
        question,
        lambda view: _run(view, before, after),
        needs,
        timing=True,
        phase=after,
    )


def _name(after: str) -> str:
    return f"full concurrency in {after}"


def _run(view: RunView, before: str, after: str) -> CheckResult:
    name, objective = _name(after), f"≥ {SHARE:.0%} of what ran in {before}"
    try:
        most = {replica: (_most(view, before, replica), _most(view, after, replica)) for replica in view.replicas}
    except aftermath.Unknown as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), objective, phase=after)
    replica, (then, now) = min(most.items(), key=lambda item: item[1][1] / item[1][0])
    share = now / then
    why = f"{replica} ran up to {now:.0f} streams at once in {after}, {then:.0f} in {before}"
    status = Status.PASS if share >= SHARE else Status.FAIL
    margin = 100 * (share - SHARE)
    return CheckResult(name, status, why, objective, 100 * share, "%", margin, len(most), after)


def _most(view: RunView, phase: str, replica: str) -> float:
    """The most that ran at once while others had to wait: only then every place was taken."""
    running, waiting = (
        view.metrics(replica, f"wave_{metric}").set_index("t_s")["value"] for metric in ("running", "waiting")
    )
    full = running[waiting.reindex(running.index).ge(1)]
    values = [
        float(full[(full.index >= wave.began_s) & (full.index <= wave.cancelled_s + SEEN_LATE_S)].max())
        for wave in aftermath.reached(view, phase)
        if wave.cancelled_s is not None
    ]
    most = max((value for value in values if value > 0), default=0.0)
    if not most:
        raise aftermath.Unknown(f"nobody was seen to wait for a place in {replica} during the wave of {phase}")
    return most
