"""Execution time: e2e − queue. The engine's part of the queue comes in buckets, so this is a pair of bounds."""

from __future__ import annotations

from harness.evidence.attempts import Rows
from harness.evidence.view import RunView
from harness.judge import sli
from harness.judge.sli import Measurement
from harness.judge.slis import queue

UNIT = "ms"
TIMING = True
WORSE = "higher"


def percentile(requests: Rows, view: RunView, percent: int, everything: bool) -> Measurement:
    """Bounds of percentile ``percent`` in ms; ``value`` is the upper one: nothing taken off for the engine's queue.

    The lower bound takes off the largest queue time that any request can have had there, and is 0 when that is not
    known: so an objective that the upper bound keeps is kept, and one that it breaks may be undecided.
    """
    when, requests = queue.window(requests), sli.counted(requests, everything)
    whole, queued = requests["e2e_ms"], requests["queue_gateway_ms"]
    # A request that timed out in the queue may not have been executed at all, nor one that no gateway logged.
    executed = requests["gateway_replica"].fillna("").ne("") & queued.notna()
    waited = sli.waited_ms(requests, view.limits)
    at_least = (waited - queued).clip(lower=0).where(executed, 0.0).where(waited.notna())
    found = sli.percentile(sli.sample(requests, whole - queued, at_least if everything else None), percent, UNIT)
    if found.value is None:
        return found
    engine = queue.engine_ms(view, view.replicas, when, 100)
    low = 0.0 if engine is None else max(0.0, found.value - engine[1])
    high = found.value if found.bounds is None else found.bounds[1]
    why = f"p{percent} lies between {sli.digits(low)} and {sli.digits(high)} ms"
    return Measurement(found.value, UNIT, found.samples, why, (low, high), found.examples)
