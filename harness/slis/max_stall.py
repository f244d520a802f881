"""Largest gap between consecutive content events of one stream: what users feel in a network fault."""

import pandas as pd

from harness.sli import Sample, latencies
from harness.view import RunView

UNIT = "ms"
TIMING = True


def values(requests: pd.DataFrame, view: RunView, everything: bool) -> Sample:
    """One value per request in ms. A stream that stalled past the limit is censored there."""
    return latencies(requests, "max_stall_ms", everything, {"timeout_stall": view.limits.idle * 1000})
