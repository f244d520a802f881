"""Execution time: e2e − queue. The engine's part of the queue comes in buckets, so this is a pair of bounds."""

from __future__ import annotations

import pandas as pd

from harness import sli
from harness.sli import Measurement
from harness.slis import queue
from harness.view import RunView

UNIT = "ms"
TIMING = True


def percentile(requests: pd.DataFrame, view: RunView, percent: int, everything: bool) -> Measurement:
    """Bounds of percentile ``percent`` in ms; ``value`` is the upper one: nothing taken off for the engine's queue.

    The lower bound takes off the largest queue time that any request can have had there, and is 0 when that is not
    known: so an objective that the upper bound keeps is kept, and one that it breaks may be undecided.
    """
    sample = sli.of_ok(requests, requests["e2e_ms"] - requests["queue_gateway_ms"], everything)
    found = sli.percentile(sample, percent, UNIT)
    if found.value is None:
        return found
    ends = requests["start_s"] + requests["e2e_ms"].fillna(0) / 1000
    engine = queue.engine_ms(view, (float(requests["start_s"].min()), float(ends.max())), 100)
    low = 0.0 if engine is None else max(0.0, found.value - engine[1])
    why = f"p{percent} lies between {low:.4g} and {found.value:.4g} ms"
    return Measurement(found.value, UNIT, found.samples, why, (low, found.value), found.examples)
