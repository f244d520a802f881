"""When all is quiet no replica holds a KV block: each can reset its prefix cache."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status

NAME = "no KV block held in the end"
OBJECTIVE = "the prefix cache of every replica can be reset"


@with_arguments
def check(phase: str) -> Check:
    """Whether that succeeded in ``phase``, which is without load."""
    question = "Can every replica reset its prefix cache when nobody asks anything?"
    return Check(
        "prefix-cache-released",
        NAME,
        question,
        lambda view: _run(view, phase),
        frozenset({"replicas", f"phase:{phase}"}),
        timing=False,
        phase=phase,
    )


def _run(view: RunView, phase: str) -> CheckResult:
    found = {str(e.data.get("component")): e.data for e in view.events("prefix_cache_reset")}
    if missing := [replica for replica in view.replicas if replica not in found]:
        why = f"{missing[0]} was not asked to reset its prefix cache"
        return CheckResult(NAME, Status.INCONCLUSIVE, why, OBJECTIVE, phase=phase)
    held = [replica for replica in view.replicas if found[replica].get("success") is not True]
    why = "; ".join(f"{replica}: {found[replica].get('why')}" for replica in held or view.replicas)
    status = Status.FAIL if held else Status.PASS
    return CheckResult(
        NAME, status, why, OBJECTIVE, float(len(held)), "replicas", 0.0 - len(held), len(view.replicas), phase
    )
