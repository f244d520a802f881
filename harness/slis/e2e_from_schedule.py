"""End-to-end time counted from the intended start: what an outage really cost."""

import pandas as pd

from harness.sli import Sample, latencies
from harness.view import RunView

UNIT = "ms"
TIMING = True


def values(requests: pd.DataFrame, view: RunView, everything: bool) -> Sample:
    """One value per request in ms. An attempt that timed out is censored where its client gave up."""
    limits = {
        "timeout_ttft": view.limits.first_token * 1000,
        "timeout_stall": view.limits.idle * 1000,
        "timeout_total": view.limits.total * 1000,
    }
    return latencies(requests, "e2e_from_schedule_ms", everything, limits, ends=True)
