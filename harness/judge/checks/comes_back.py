"""A replica that was ended is ready in time, and its first answer comes while its user still waits."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.checks.fault_window import step_s
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status


@with_arguments
def ready(replica: str, phase: str) -> Check:
    """Whether ``replica``, ended in ``phase``, is ready before the phase has had all the time that it may have."""
    question = f"Is {replica} ready again while {phase} waits for it?"
    needs = frozenset({"gateways", "replicas", f"fault:{phase}"})
    name = f"{replica} is ready again in {phase}"
    return Check(
        "replica-ready-again",
        name,
        question,
        lambda view: _ready(view, name, replica, phase),
        needs,
        timing=True,
        phase=phase,
        subject=replica,
    )


@with_arguments
def first_token(replica: str, phase: str) -> Check:
    """Whether the first token after that comes within the clients' limit for it."""
    question = f"Does {replica}, just ready in {phase}, answer its first user in time?"
    needs = frozenset({"gateways", "replicas", f"fault:{phase}"})
    name = f"first token of {replica} in {phase}"
    return Check(
        "replica-first-token",
        name,
        question,
        lambda view: _first_token(view, name, replica, phase),
        needs,
        timing=True,
        phase=phase,
        subject=replica,
    )


def _ready(view: RunView, name: str, replica: str, phase: str) -> CheckResult:
    ended = step_s(view, phase, "stopping") or step_s(view, phase, "killing")
    planned = next((p for p in view.scenario.phases if p.name == phase), None)
    if ended is None or planned is None:
        return CheckResult(name, Status.INCONCLUSIVE, f"{replica} was not ended in {phase}", phase=phase)
    objective, at = f"≤ {planned.longest:.6g} s", step_s(view, phase, "ready")
    if at is None:
        why = f"{replica} was not ready when {phase} had lasted as long as it may"
        return CheckResult(name, Status.FAIL, why, objective, samples=1, phase=phase)
    took = at - ended
    status = Status.PASS if took <= planned.longest else Status.FAIL
    why = f"{replica} was ready {took:.1f} s after it was told to end"
    return CheckResult(name, status, why, objective, took, "s", planned.longest - took, 1, phase)


def _first_token(view: RunView, name: str, replica: str, phase: str) -> CheckResult:
    limit, at, token = view.limits.first_token, step_s(view, phase, "ready"), step_s(view, phase, "first_token")
    objective = f"≤ {limit:.6g} s"
    if at is None:
        return CheckResult(name, Status.INCONCLUSIVE, f"{replica} was not ready in {phase}", objective, phase=phase)
    if token is None:
        why = f"{replica} was ready and gave no token while {phase} lasted"
        return CheckResult(name, Status.FAIL, why, objective, samples=1, phase=phase)
    took = token - at
    status = Status.PASS if took <= limit else Status.FAIL
    why = f"its first token came {took:.2f} s after it was ready"
    return CheckResult(name, status, why, objective, took, "s", limit - took, 1, phase)
