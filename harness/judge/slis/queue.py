"""Queue time: in the gateway's queue (its log, by request id) plus in the engine's own (a histogram in buckets).

The engine's part is only known per bucket and not per request, so a percentile of the sum is a pair of bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.evidence.attempts import Rows
from harness.evidence.evidence import Evidence
from harness.evidence.view import RunView
from harness.judge import sli
from harness.judge.sli import Measurement

UNIT = "ms"
TIMING = True
WORSE = "higher"
#: Samples of the replicas' histogram ``vllm:request_queue_time_seconds``, cumulative, with label ``le`` in seconds.
BUCKETS = "request_queue_time_seconds_bucket"


def percentile(requests: Rows, view: RunView, percent: int, everything: bool) -> Measurement:
    """Bounds of percentile ``percent`` in ms; ``value`` is the upper one where that is finite."""
    when, requests = window(requests), sli.counted(requests, everything)
    queued, waited = requests["queue_gateway_ms"], sli.waited_ms(requests, view.limits)
    # A timed-out request that had left the gateway's queue has an exact value; the others are censored.
    left = requests["gateway_replica"].fillna("").ne("") & queued.notna()
    cut = queued.fillna(0.0).where(waited.notna() & ~left) if everything else None
    gateway = sli.sample(requests, queued, cut)
    own = sli.percentile(gateway, percent, UNIT)
    if own.value is None:
        return own
    engine = engine_ms(view, view.replicas, when, percent)
    if engine is None:
        alone = f"the gateways' part alone is {sli.digits(own.value)} ms"
        why = f"the engines' own queue time ({BUCKETS}) was not sampled; {alone}"
        return Measurement(None, UNIT, own.samples, why)
    low = max(own.value, engine[0])
    high = min(_upper(gateway, view, when, percent, share) for share in (0.25, 0.5, 0.75))
    why = f"p{percent} lies between {sli.digits(low)} and {sli.digits(high)} ms"
    known = low if math.isinf(high) else high
    return Measurement(known, UNIT, own.samples, why, None if low == high else (low, high), own.examples)


def engine_ms(
    view: Evidence, replicas: Sequence[str], window: tuple[float, float], percent: float
) -> tuple[float, float] | None:
    """Bucket bounds in ms of a percentile of these replicas' queue times in that time; None when not sampled."""
    counts: dict[float, float] = {}
    for replica in replicas:
        samples = view.metrics(replica, BUCKETS)
        samples = samples[samples["t_s"].between(*window)]
        for labels, series in samples.groupby("labels")["value"]:
            edge = float(dict(part.split("=") for part in str(labels).split(","))["le"].replace("+Inf", "inf"))
            counts[edge] = counts.get(edge, 0.0) + float(series.iloc[-1] - series.iloc[0])
    if not counts or max(counts.values()) == 0:
        return None
    wanted, below = max(counts.values()) * percent / 100, 0.0
    for edge in sorted(counts):
        if counts[edge] >= wanted:
            return below * 1000, edge * 1000
        below = edge
    return below * 1000, math.inf


def window(requests: Rows) -> tuple[float, float]:
    """From the first attempt's start to the last one's end, in seconds of the run."""
    return float(requests["start_s"].min()), float(requests["end_s"].max())


def _upper(gateway: sli.Sample, view: RunView, when: tuple[float, float], percent: int, share: float) -> float:
    """Upper bound of Q_{X+Y}(p): Q_X(1−a·(1−p)) + Q_Y(1−(1−a)·(1−p)) for any split a of the tail (union bound)."""
    tail = 100 - percent
    ordered = np.sort(gateway.upper)
    rank = min(len(ordered) - 1, math.ceil((100 - tail * share) / 100 * len(ordered)) - 1)
    engine = engine_ms(view, view.replicas, when, 100 - tail * (1 - share))
    return float(ordered[rank]) + (engine[1] if engine is not None else math.inf)
