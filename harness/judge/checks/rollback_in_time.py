"""A candidate that is stopped gets nothing any more, soon: by the gateways' word and by who answers users."""

from __future__ import annotations

import itertools

from harness.evidence.view import RunView
from harness.judge.checks import of_rollout
from harness.judge.checks.fault_window import GAP_MAX_S
from harness.judge.drill import Check, with_arguments
from harness.judge.slo import NotMeasured
from harness.model.rollout import PROMOTE, Rollout
from harness.model.verdict import CheckResult, Status


@with_arguments
def check(phase: str, within_s: float) -> Check:
    """Whether its weight is 0 and every user is with the stable version ``within_s`` after the decision.

    The replica's restoration takes longer (an engine starts); it is told in the reason, not judged here.
    """
    name = "rollback in time"
    question = "If the candidate was stopped: was all traffic on the stable version soon?"
    needs = frozenset({"load", "metrics", "gateways", f"fault:{phase}"})
    return Check(
        "rollback-in-time",
        name,
        question,
        lambda view: _run(view, name, phase, within_s),
        needs,
        timing=True,
        phase=phase,
    )


def _run(view: RunView, name: str, phase: str, within_s: float) -> CheckResult:
    objective = f"≤ {within_s:g} s"
    try:
        rollout = of_rollout.recorded(view)
        decided = of_rollout.decided_s(rollout)
        if rollout.decision is not None and rollout.decision.verdict == PROMOTE:
            why = "the candidate was promoted: there was nothing to roll back"
            return CheckResult(name, Status.PASS, why, objective, phase=phase)
        weighed_s, last_s, samples = _weighed_until(view, rollout, decided), *_served_until(view, rollout, decided)
    except NotMeasured as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), objective, phase=phase)
    took = max(weighed_s, last_s)
    restored = "never" if rollout.restored_s is None else f"{rollout.restored_s - decided:.0f} s"
    why = (
        f"the gateways gave it a weight until {weighed_s:.1f} s after the decision, the last user met it after "
        f"{last_s:.1f} s; its replica served the stable version again after {restored}"
    )
    status = Status.PASS if took <= within_s else Status.FAIL
    return CheckResult(name, status, why, objective, took, "s", within_s - took, samples, phase)


def _weighed_until(view: RunView, rollout: Rollout, decided: float) -> float:
    """Seconds after the decision until no gateway gave it a weight any more. NotMeasured when that was not seen."""
    until = _watched_until(rollout, decided)
    latest = 0.0
    for gateway in view.gateways:
        samples = view.metrics(gateway, "server_weight", f"server={rollout.candidate_on}")
        samples = samples[samples["t_s"].between(decided, until)]
        times = [decided, *samples["t_s"], until]
        if max(right - left for left, right in itertools.pairwise(times)) > GAP_MAX_S:
            raise NotMeasured(f"{gateway}'s weights were not sampled after the decision")
        heavy = samples["t_s"][samples["value"].gt(0)]
        latest = max(latest, float(heavy.max()) - decided if len(heavy) else 0.0)
    return latest


def _served_until(view: RunView, rollout: Rollout, decided: float) -> tuple[float, int]:
    """Seconds after the decision at which the last user was sent to it, and how many requests there were to look at."""
    rows = of_rollout.answered(view)
    rows = rows[rows["start_s"].between(decided, _watched_until(rollout, decided))]
    if rows.empty:
        raise NotMeasured("no user was answered after the decision")
    met = rows["start_s"][rows["served_version"].eq(rollout.candidate.version)]
    return (float(met.max()) - decided if len(met) else 0.0), len(rows)


def _watched_until(rollout: Rollout, decided: float) -> float:
    """Until its replica serves the stable version again, and may get traffic."""
    back = [s.from_s for s in rollout.served if s.replica == rollout.candidate_on and s.from_s > decided]
    if not back:
        raise NotMeasured(f"{rollout.candidate_on} was never given back")
    return min(back)
