"""Long contexts do not take everything: the KV cache keeps some room, and nobody is preempted."""

from __future__ import annotations

from harness.drill import Check
from harness.verdict import CheckResult, Status
from harness.view import RunView
from stack.topology import REPLICAS

FULL = 0.95


def check(phase: str) -> Check:
    """Whether no replica had its KV cache full or preempted anybody in ``phase``."""
    question = f"Do the long contexts of {phase} leave room in every KV cache?"
    needs = frozenset({"metrics", "replicas", f"fault:{phase}"})
    name = f"room in the KV cache in {phase}"
    return Check(name, question, lambda view: _run(view, name, phase), needs)


def _run(view: RunView, name: str, phase: str) -> CheckResult:
    objective, used, preempted = f"< {FULL:.0%} and 0 preemptions", dict[str, float](), dict[str, float]()
    for replica in REPLICAS:
        usage = view.metrics(replica, "kv_usage_ratio", phase=phase)["value"]
        counts = view.metrics(replica, "preemptions_total", phase=phase)["value"]
        if len(usage) < 2 or len(counts) < 2:
            why = f"the KV cache of {replica} was not sampled in {phase}"
            return CheckResult(name, Status.INCONCLUSIVE, why, objective, phase=phase)
        used[replica], preempted[replica] = float(usage.max()), float(counts.max() - counts.min())
    worst, victims = max(used, key=lambda replica: used[replica]), sum(preempted.values())
    return CheckResult(
        name,
        Status.PASS if used[worst] < FULL and not victims else Status.FAIL,
        f"{worst} used {used[worst]:.0%} of its KV cache at most, {victims:.0f} requests were preempted",
        objective,
        100 * used[worst],
        "%",
        100 * (FULL - used[worst]),
        len(REPLICAS),
        phase,
        details={"used": used, "preempted": preempted},
    )
