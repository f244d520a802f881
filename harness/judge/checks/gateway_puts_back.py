"""The gateways use a replica again soon after its fault was healed."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status


@with_arguments
def check(replica: str, phase: str, within_s: float) -> Check:
    """Whether every gateway has ``replica`` back in rotation within ``within_s`` of the heal of ``phase``."""
    question = f"Do the gateways use {replica} again within {within_s:g} s of healing {phase}?"
    needs = frozenset({"metrics", "gateways", f"fault:{phase}"})
    return Check(
        "gateway-readmits-replica",
        _name(replica, phase),
        question,
        lambda v: _run(v, replica, phase, within_s),
        needs,
        timing=True,
        after_heal=True,
        phase=phase,
        subject=replica,
    )


def _name(replica: str, phase: str) -> str:
    return f"gateways put {replica} back after {phase}"


def _run(view: RunView, replica: str, phase: str, within_s: float) -> CheckResult:
    name, objective = _name(replica, phase), f"≤ {within_s:.6g} s"
    span = view.phase(phase)
    healed = [e.t_s for e in view.events("fault_healed", phase)]
    if span is None or not healed:
        return CheckResult(name, Status.INCONCLUSIVE, f"{phase} was not healed", objective, phase=phase)
    begin, back = max(healed), dict[str, float | None]()
    for gateway in view.gateways:
        samples = view.metrics(gateway, "server_up", f"server={replica}")
        faulty = samples[samples["t_s"].between(span.start_s, begin)]
        after = samples[samples["t_s"].ge(begin)]
        up = after["t_s"][after["value"].eq(1)]
        if not faulty["value"].eq(0).any():
            why = f"{gateway} never had {replica} out, so it could not put it back"
            return CheckResult(name, Status.INCONCLUSIVE, why, objective, samples=len(faulty), phase=phase)
        seen_until = float(after["t_s"].max()) if len(after) else begin
        if up.empty and seen_until < begin + within_s:
            why = f"{gateway} was only sampled until {seen_until - begin:.1f} s after the heal"
            return CheckResult(name, Status.INCONCLUSIVE, why, objective, samples=len(after), phase=phase)
        back[gateway] = None if up.empty else float(up.iloc[0]) - begin
    never = [gateway for gateway, seconds in back.items() if seconds is None]
    if never:
        why = f"{', '.join(never)} never put {replica} back after {phase}"
        return CheckResult(name, Status.FAIL, why, objective, samples=len(back), phase=phase, details=dict(back))
    slowest, seconds = max(((g, s) for g, s in back.items() if s is not None), key=lambda item: item[1])
    status = Status.PASS if seconds <= within_s else Status.FAIL
    why = f"{slowest} was the last to put {replica} back, {seconds:.1f} s after the heal"
    margin = within_s - seconds
    return CheckResult(name, status, why, objective, seconds, "s", margin, len(back), phase, details=dict(back))
