"""The gateways stop using a bad replica soon after the fault has begun."""

from __future__ import annotations

import itertools

from harness.evidence.view import RunView
from harness.judge.checks.streams import step_s
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status

_GAP_MAX_S = 2.0


@with_arguments
def check(replica: str, phase: str, within_s: float) -> Check:
    """Whether every gateway has ``replica`` out of its rotation within ``within_s`` of the injection in ``phase``."""
    question = f"Do the gateways stop using {replica} within {within_s:g} s of the fault in {phase}?"
    needs = frozenset({"metrics", "gateways", f"fault:{phase}"})
    return Check(
        "gateway-ejects-replica",
        f"gateways take {replica} out",
        question,
        lambda v: _run(v, replica, phase, within_s),
        needs,
        timing=True,
        phase=phase,
        subject=replica,
    )


def _run(view: RunView, replica: str, phase: str, within_s: float) -> CheckResult:
    taken: dict[str, float | None] = {}
    name, objective = f"gateways take {replica} out", f"≤ {within_s:.6g} s"
    ordered = [e.t_s for e in view.events("fault_injecting", phase)]
    injected = [e.t_s for e in view.events("fault_injected", phase)]
    healing = [e.t_s for e in view.events("fault_healing", phase)]
    if not ordered or not injected:
        return CheckResult(name, Status.INCONCLUSIVE, f"nothing was injected in {phase}", objective, phase=phase)
    # A kill has its effect, and may be noticed, before everything about it is done.
    killed = step_s(view, phase, "killed")
    begin, end = max(injected) if killed is None else killed, min(healing, default=float("inf"))
    for gateway in view.gateways:
        samples = view.metrics(gateway, "server_up", f"server={replica}")
        before = samples[samples["t_s"].le(min(ordered))]
        during = samples[samples["t_s"].gt(min(ordered)) & samples["t_s"].le(end)]
        problem = _unusable(before["value"].tolist(), during["t_s"].tolist(), begin, begin + within_s)
        if problem:
            why = f"{gateway}: {problem}"
            return CheckResult(name, Status.INCONCLUSIVE, why, objective, samples=len(during), phase=phase)
        out = during["t_s"][during["value"].eq(0)]
        taken[gateway] = None if out.empty else max(0.0, float(out.iloc[0]) - begin)
    return _result(name, objective, taken, replica, phase, within_s)


def _unusable(before: list[float], times: list[float], begin: float, end: float) -> str | None:
    """Why the samples cannot answer the question; None when they can."""
    if not before or not times:
        return "the replica's state in the gateway was not sampled"
    if before[-1] == 0:
        return "the replica was out before the fault"
    edges = [begin, *(t for t in times if begin < t < end), end]
    gap = max(right - left for left, right in itertools.pairwise(edges))
    return f"its state was not sampled for {gap:.1f} s after the fault" if gap > _GAP_MAX_S else None


def _result(
    name: str, objective: str, taken: dict[str, float | None], replica: str, phase: str, within_s: float
) -> CheckResult:
    never = [gateway for gateway, after in taken.items() if after is None]
    if never:
        why = f"{', '.join(never)} never took {replica} out of rotation in {phase}"
        return CheckResult(name, Status.FAIL, why, objective, phase=phase, samples=len(taken), details=dict(taken))
    slowest, seconds = max(((g, s) for g, s in taken.items() if s is not None), key=lambda item: item[1])
    status = Status.PASS if seconds <= within_s else Status.FAIL
    why = f"{slowest} was the last to take {replica} out, {seconds:.1f} s after the fault"
    return CheckResult(
        name, status, why, objective, seconds, "s", within_s - seconds, len(taken), phase, details=dict(taken)
    )
