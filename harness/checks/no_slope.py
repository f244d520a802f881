"""Many identical waves leave no more behind than one: nothing grows from wave to wave."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness import aftermath
from harness.drill import Check
from harness.verdict import CheckResult, Status, worst
from harness.view import RunView
from stack.topology import REPLICAS

WAVES_MIN = 10
#: Per wave. A leak of one KV block in 1,000, or of a megabyte, is still worth a night's sleep; less is noise.
KV_MAX, RSS_MAX_BYTES = 0.001, 1e6
#: Two-sided 95 % points of Student's t by degrees of freedom; from 31 on the normal distribution's is near enough.
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class _Slope:
    """Growth per wave as a share of what is allowed, with the ends of its 95 % confidence interval."""

    what: str
    low: float
    high: float
    value: float
    text: str

    @property
    def status(self) -> Status:
        """Surely too steep, surely not, or nobody knows."""
        if self.low > 1.0:
            return Status.FAIL
        return Status.PASS if self.high <= 1.0 else Status.INCONCLUSIVE


def check(phase: str) -> Check:
    """Whether KV cache and memory of the replicas grow over the waves of ``phase``."""
    question = f"Do KV cache and memory stay level over the identical waves of {phase}?"
    needs = frozenset({"metrics", "replicas", f"fault:{phase}"})
    return Check(_name(phase), question, lambda view: _run(view, phase), needs)


def _name(phase: str) -> str:
    return f"no leak over {phase}"


def _run(view: RunView, phase: str) -> CheckResult:
    name, objective = _name(phase), f"≤ {KV_MAX:.1%} of the KV cache and {RSS_MAX_BYTES / 1e6:g} MB per wave"
    try:
        slopes = list(_slopes(view, phase))
    except aftermath.Unknown as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), objective, phase=phase)
    status = worst(slope.status for slope in slopes)
    steepest = max((slope for slope in slopes if slope.status is status), key=lambda slope: slope.high)
    return CheckResult(
        name,
        status,
        f"{steepest.what} grew by {steepest.text} per wave (95 % confidence)",
        objective,
        100 * steepest.value,
        "% of what is allowed",
        100 * (1 - steepest.value),
        len(slopes),
        phase,
        details={slope.what: slope.text for slope in slopes},
    )


def _slopes(view: RunView, phase: str) -> Iterator[_Slope]:
    waves = aftermath.waves_of(view, phase)
    if len(waves) < WAVES_MIN:
        raise aftermath.Unknown(f"{len(waves)} waves of {phase} reached their moment, {WAVES_MIN} are needed")
    for replica in REPLICAS:
        kv = [aftermath.after(view, wave, replica).kv_left for wave in waves]
        yield _slope(f"KV cache of {replica}", kv, KV_MAX, 100.0, "%")
        if any(replica not in wave.rss_bytes for wave in waves):
            raise aftermath.Unknown(f"the memory of {replica} was not measured after each wave")
        rss = [wave.rss_bytes[replica] for wave in waves]
        yield _slope(f"memory of {replica}", rss, RSS_MAX_BYTES, 1e-6, "MB")


def _slope(what: str, values: list[float], allowed: float, scale: float, unit: str) -> _Slope:
    """Least squares over the number of the wave."""
    y = np.array(values)
    x = np.arange(len(y)) - (len(y) - 1) / 2
    slope = float((x * y).sum() / (x * x).sum())
    rest = y - y.mean() - slope * x
    free = len(y) - 2
    t95 = _T95[free - 1] if free <= len(_T95) else 1.96
    half = t95 * math.sqrt(float((rest * rest).sum()) / free / float((x * x).sum()))
    text = f"{scale * slope:.3g} {unit} ± {scale * half:.2g}"
    return _Slope(what, (slope - half) / allowed, (slope + half) / allowed, slope / allowed, text)
