"""A gateway that can serve nobody says so itself."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.checks import since_fault
from harness.judge.checks.since_fault import SinceFault
from harness.judge.drill import Check, with_arguments
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status


@with_arguments
def check(gateway: str, phase: str, within: str) -> Check:
    """Whether ``gateway`` is not ready from ``within`` (an expression) after the injection in ``phase`` on."""
    question = f"Does {gateway} call itself not ready soon after the fault in {phase}?"
    needs = frozenset({"metrics", "gateways", f"fault:{phase}"})
    return Check(
        "gateway-readiness-falls",
        _name(gateway, phase),
        question,
        lambda view: _run(view, gateway, phase, within),
        needs,
        timing=True,
        phase=phase,
        subject=gateway,
    )


def _name(gateway: str, phase: str) -> str:
    return f"{gateway} is not ready in {phase}"


def _run(view: RunView, gateway: str, phase: str, within: str) -> CheckResult:
    name = _name(gateway, phase)
    try:
        target, fault = since_fault.limit(view, within), SinceFault.of(view, phase)
        samples = view.metrics(gateway, "ready")
        before = samples["value"][samples["t_s"].le(fault.begin_s)]
        during = samples[samples["t_s"].between(fault.begin_s, fault.end_s)]
        if before.empty or before.iloc[-1] != 1:
            raise NotMeasured(f"{gateway} was not seen to be ready before the fault")
        ms = fault.ms_until(during["t_s"].tolist(), during["value"].eq(0).tolist())
    except NotMeasured as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), f"≤ {within}", phase=phase)
    why = f"{gateway} called itself not ready from {{s}} after the fault on"
    never = f"{gateway} called itself ready until the fault was healed, and could serve nobody"
    return since_fault.judged(name, phase, target, ms, why, never, len(during))
