"""Whatever is asked, the memory of the replicas grows by little: not with what people send."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status

NAME = "memory of the replicas is bounded"
#: So much of what a replica has at rest may come on top; and its KV cache, whose pages count when they are first used.
SHARE = 0.10
_SAMPLES_MIN = 3
_MIB = 1024**2


@with_arguments
def check(*phases: str) -> Check:
    """Whether no replica ever had much more resident memory in ``phases`` than in the baseline."""
    question = f"Does the memory of every replica stay within bounds in {', '.join(phases)}?"
    needs = frozenset({"replicas", *(f"fault:{phase}" for phase in phases)})
    return Check("memory-bounded", NAME, question, lambda view: _run(view, phases), needs, timing=False)


def _run(view: RunView, phases: tuple[str, ...]) -> CheckResult:
    grown, limits = dict[str, float](), dict[str, float]()
    cache = float(view.plan.get("topology", {}).get("kv_cache_bytes", 0))
    for replica in view.replicas:
        before = view.metrics(replica, "rss_bytes", phase=view.baseline or "")["value"]
        during = [view.metrics(replica, "rss_bytes", phase=phase)["value"] for phase in phases]
        if min(map(len, (before, *during))) < _SAMPLES_MIN:
            why = f"the memory of {replica} was not sampled in the baseline and in each of {', '.join(phases)}"
            return CheckResult(NAME, Status.INCONCLUSIVE, why, "bounded growth")
        usual = float(before.median())
        grown[replica] = max(float(values.max()) for values in during) - usual
        limits[replica] = SHARE * usual + cache
    worst = max(grown, key=lambda replica: grown[replica] - limits[replica])
    growth, limit = grown[worst] / _MIB, limits[worst] / _MIB
    return CheckResult(
        NAME,
        Status.PASS if growth <= limit else Status.FAIL,
        f"{worst} grew by {growth:.0f} MiB at most",
        f"≤ {limit:.0f} MiB ({SHARE:.0%} of the baseline, and the KV cache)",
        growth,
        "MiB",
        limit - growth,
        len(view.replicas),
        details={replica: value / _MIB for replica, value in grown.items()},
    )
