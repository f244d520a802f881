"""Many identical waves leave no more behind than one: nothing grows from wave to wave."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.evidence.view import RunView
from harness.judge import aftermath, chance
from harness.judge.checks.shapes import asks
from harness.model.artifacts.waves import Wave
from harness.model.verdict import CheckResult, Status, worst

WAVES_MIN = 10
#: Per wave. A leak of one KV block in 1,000, or of a megabyte, is still worth a night's sleep; less is noise.
KV_MAX, RSS_MAX_BYTES = 0.001, 1e6
#: An engine's memory may grow with each request that it has ever served, cancelled or not (vLLM's on CPU does, by 0.1
#: to 0.2 MB). That is not what cancels leave behind: so many times what it was per request in the baseline is allowed.
#: A warm stack's baseline may live on memory that is there already: then what was measured of vLLM on a CPU counts.
AS_BEFORE, PER_REQUEST_BYTES = 2.0, 0.13e6


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


@asks(
    "no-leak",
    "no leak over {phase}",
    "Do KV cache and memory stay level over the identical waves of {phase}?",
    "metrics", "replicas", "fault:{phase}",
    timing=False,
    objective=f"≤ {KV_MAX:.1%} of the KV cache; ≤ {RSS_MAX_BYTES / 1e6:g} MB + {AS_BEFORE:g} × what as many requests "
    f"of the baseline cost ({PER_REQUEST_BYTES / 1e6:g} MB each at least), per wave",
)  # fmt: skip
def check(view: RunView, phase: str) -> CheckResult:
    """Whether KV cache and memory of the replicas grow over the waves of ``phase``."""
    slopes = list(_slopes(view, phase))
    status = worst(slope.status for slope in slopes)
    steepest = max((slope for slope in slopes if slope.status is status), key=lambda slope: slope.high)
    why = f"{steepest.what} grew by {steepest.text} per wave, with 95 % confidence"
    of_allowed, details = 100 * steepest.value, {slope.what: slope.text for slope in slopes}
    unit, margin = "% of what is allowed", 100 * (1 - steepest.value)
    return CheckResult("", status, why, "", of_allowed, unit, margin, len(slopes), details=details)


def _slopes(view: RunView, phase: str) -> Iterator[_Slope]:
    found = aftermath.seen(view, phase)
    if len(found) < WAVES_MIN:
        raise aftermath.Unknown(f"{len(found)} waves of {phase} could be looked at, {WAVES_MIN} are needed")
    for replica in view.replicas:
        after = [one[replica] for one in found]
        waves = [one.wave for one in after]
        numbers = [wave.number for wave in waves]
        yield _slope(f"KV cache of {replica}", numbers, [one.kv_left for one in after], KV_MAX, 100.0, "%")
        if any(replica not in wave.rss_bytes for wave in waves):
            raise aftermath.Unknown(f"the memory of {replica} was not measured after each wave")
        rss = [wave.rss_bytes[replica] for wave in waves]
        allowed = RSS_MAX_BYTES + AS_BEFORE * _costs_anyway(view, waves, replica)
        yield _slope(f"memory of {replica}", numbers, rss, allowed, 1e-6, "MB")


def _costs_anyway(view: RunView, waves: Sequence[Wave], replica: str) -> float:
    """By how much as many requests as come with one wave would have made the memory grow in the baseline, or in any."""
    rss = view.metrics(replica, "rss_bytes", phase=view.baseline)
    if view.baseline is None or len(rss) < 2:
        raise aftermath.Unknown(f"the memory of {replica} was not measured in the baseline")
    times = rss["t_s"].to_numpy(dtype=float)
    grown = float(rss["value"].iloc[-1] - rss["value"].iloc[0])
    before = _served(view, replica, float(times[0]), float(times[-1]))
    if not before:
        raise aftermath.Unknown(f"{replica} served nobody in the baseline")
    theirs = _served(view, replica, waves[0].began_s, waves[-1].began_s) / (len(waves) - 1)
    own = sum(stream.replica == replica for wave in waves for stream in wave.streams) / len(waves)
    return max(grown / before, PER_REQUEST_BYTES) * (theirs + own)


def _served(view: RunView, replica: str, begin_s: float, end_s: float) -> int:
    """How many attempts of users came to a replica in that time."""
    rows = view.requests
    return int((rows["gateway_replica"].eq(replica) & rows["start_s"].between(begin_s, end_s)).sum())


def _slope(what: str, numbers: list[int], values: list[float], allowed: float, scale: float, unit: str) -> _Slope:
    """Least squares over the number of the wave."""
    y = np.array(values)
    x = np.array(numbers) - np.mean(numbers)
    slope = float((x * y).sum() / (x * x).sum())
    rest = y - y.mean() - slope * x
    free = len(y) - 2
    half = chance.t_within(0.95, free) * math.sqrt(float((rest * rest).sum()) / free / float((x * x).sum()))
    text = f"{scale * slope:.3g} {unit} ± {scale * half:.2g} (allowed: {scale * allowed:.2g})"
    return _Slope(what, (slope - half) / allowed, (slope + half) / allowed, slope / allowed, text)
