"""What users send brings no replica down: none is started again that nobody has ended."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status


@with_arguments
def check(phase: str) -> Check:
    """Whether every replica ran through ``phase`` without being started again."""
    question = f"Do all replicas live through {phase}?"
    name = f"no replica restarts in {phase}"
    return Check(
        "no-replica-restarts",
        name,
        question,
        lambda view: _run(view, name, phase),
        frozenset({"replicas"}),
        safety=True,
        timing=False,
        phase=phase,
    )


def _run(view: RunView, name: str, phase: str) -> CheckResult:
    objective, starts = "0 restarts", dict[str, float]()
    for replica in view.replicas:
        counts = view.metrics(replica, "restarts_total", phase=phase)["value"]
        if len(counts) < 2:
            why = f"the restarts of {replica} were not sampled in {phase}"
            return CheckResult(name, Status.INCONCLUSIVE, why, objective, phase=phase)
        starts[replica] = float(counts.max() - counts.min())
    total = sum(starts.values())
    died = [replica for replica, count in starts.items() if count]
    why = f"{' and '.join(died)} died and were started again" if died else f"none of {len(starts)} was started again"
    status = Status.FAIL if died else Status.PASS
    return CheckResult(name, status, why, objective, total, "restarts", 0.0 - total, len(starts), phase, details=starts)
