"""Users of a deaf replica suffer no longer than it takes to notice it."""

from __future__ import annotations

from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge.checks.since_fault import SinceFault
from harness.judge.drill import Check, with_arguments
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status

REQUESTS_MIN = 20


@with_arguments
def check(phase: str, within_s: float) -> Check:
    """Whether no attempt begun later than ``within_s`` after the fault of ``phase`` fails or waits for the heal."""
    question = f"Is nobody who comes {within_s:g} s after the fault in {phase} or later hit by it?"
    needs = frozenset({"load", "gateways", f"fault:{phase}"})
    return Check(
        "impact-window-bounded",
        _name(phase),
        question,
        lambda view: _run(view, phase, within_s),
        needs,
        timing=True,
        per_request=True,
        phase=phase,
    )


def _name(phase: str) -> str:
    return f"suffering ends in {phase}"


def _run(view: RunView, phase: str, within_s: float) -> CheckResult:
    name, objective = _name(phase), f"≤ {within_s:.6g} s"
    try:
        fault = SinceFault.of(view, phase)
    except NotMeasured as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), objective, phase=phase)
    begin, rows = fault.begin_s, view.requests
    rows = rows[rows["start_s"].between(begin, fault.end_s) & ~rows["outcome"].isin(NOT_OF_THE_SERVICE)]
    later = rows[rows["start_s"].gt(begin + within_s)]
    if len(later) < REQUESTS_MIN:
        why = f"only {len(later)} attempts were begun after {within_s:g} s, {REQUESTS_MIN} are needed"
        return CheckResult(name, Status.INCONCLUSIVE, why, objective, samples=len(later), phase=phase)
    hit = rows[~fault.served(rows, view)]
    last = 0.0 if hit.empty else float(hit["start_s"].max()) - begin
    waited = 0.0 if hit.empty else float(hit["e2e_ms"].max()) / 1000
    users = hit["user_id"].nunique()
    why = f"{len(hit)} attempts of {users} users were hit, the last one begun {last:.1f} s after the fault"
    why += f"; the longest waited {waited:.1f} s" if len(hit) else ""
    status = Status.PASS if last <= within_s else Status.FAIL
    return CheckResult(
        name, status, why, objective, last, "s", within_s - last, len(rows), phase,
        tuple(map(str, hit["request_id"].drop_duplicates().tail(5))),
        {"hit": len(hit), "users": users, "longest_wait_s": waited},
    )  # fmt: skip
