"""A kill for memory is known as one: by the kernel's count for the limit, not only by a process that is gone."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.checks.fault_window import step_s
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status


@with_arguments
def check(replica: str, phase: str) -> Check:
    """Whether the kernel has counted the kill of ``replica`` in ``phase``; where it was emulated, nobody can tell."""
    question = f"Was {replica} killed in {phase} by the kernel, by its own count?"
    needs = frozenset({"replicas", f"fault:{phase}"})
    name = f"the kernel counted the kill in {phase}"
    return Check(
        "oom-kill-counted",
        name,
        question,
        lambda view: _run(view, name, replica, phase),
        needs,
        timing=False,
        phase=phase,
        subject=replica,
    )


def _run(view: RunView, name: str, replica: str, phase: str) -> CheckResult:
    objective = "≥ 1 kill counted"
    killed = [event.data for event in view.events("fault_step", phase) if event.data.get("step") == "killed"]
    begun, at = step_s(view, phase, "killing"), step_s(view, phase, "killed")
    if not killed or begun is None or at is None:
        return CheckResult(name, Status.INCONCLUSIVE, f"{replica} was not killed in {phase}", objective, phase=phase)
    if (emulated := killed[-1].get("emulated")) is not None:
        why = f"emulated: {replica} was killed by hand, so the kernel counted nothing ({emulated})"
        return CheckResult(name, Status.INCONCLUSIVE, why, objective, phase=phase)
    count = float(killed[-1].get("oom_kills") or 0)
    why = f"the kernel counted {count:.0f} kills for the limit of {replica}, {at - begun:.1f} s after it was set"
    status = Status.PASS if count >= 1 else Status.FAIL
    return CheckResult(name, status, why, objective, count, "kills", count - 1, 1, phase)
