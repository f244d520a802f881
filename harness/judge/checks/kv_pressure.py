"""Long contexts leave room in the KV caches while the gateways hold them back; where that is lifted, they fill them."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status

FULL = 0.95
#: The fault that lifts what holds long contexts back.
_LIFTS = "widened"


@with_arguments
def check(phase: str) -> Check:
    """Whether no replica had its KV cache full or preempted anybody in ``phase``.

    In a scenario that lifts the gateways' cap both have to be seen, else it shows nothing.
    """
    question = f"Is there room in every KV cache in {phase}, unless the scenario lifts the cap on long contexts?"
    needs = frozenset({"metrics", "replicas", f"fault:{phase}"})
    name = f"pressure on the KV cache in {phase}"
    return Check(
        "kv-cache-pressure", name, question, lambda view: _run(view, name, phase), needs, timing=False, phase=phase
    )


def _run(view: RunView, name: str, phase: str) -> CheckResult:
    lifted = _is_lifted(view, phase)
    objective = f"≥ {FULL:.0%} and ≥ 1 preemption" if lifted else f"< {FULL:.0%} and 0 preemptions"
    used, preempted = dict[str, float](), dict[str, float]()
    for replica in view.replicas:
        usage = view.metrics(replica, "kv_usage_ratio", phase=phase)["value"]
        counts = view.metrics(replica, "preemptions_total", phase=phase)["value"]
        if len(usage) < 2 or len(counts) < 2:
            why = f"the KV cache of {replica} was not sampled in {phase}"
            return CheckResult(name, Status.INCONCLUSIVE, why, objective, phase=phase)
        used[replica], preempted[replica] = float(usage.max()), float(counts.max() - counts.min())
    worst, victims = max(used, key=lambda replica: used[replica]), sum(preempted.values())
    if lifted:
        status = Status.PASS if used[worst] >= FULL and victims else Status.INCONCLUSIVE
    else:
        status = Status.PASS if used[worst] < FULL and not victims else Status.FAIL
    return CheckResult(
        name,
        status,
        f"{worst} used {used[worst]:.0%} of its KV cache at most, {victims:.0f} requests were preempted",
        objective,
        100 * used[worst],
        "%",
        100 * (used[worst] - FULL if lifted else FULL - used[worst]),
        len(view.replicas),
        phase,
        details={"used": used, "preempted": preempted},
    )


def _is_lifted(view: RunView, phase: str) -> bool:
    planned = [one for one in view.planned_phases if one["name"] == phase]
    return any(fault["type"] == _LIFTS for one in planned for fault in one.get("faults", ()))
