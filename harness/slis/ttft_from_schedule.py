"""Time to the first token counted from the intended start: first event with content − intended start of the request."""

import pandas as pd

from harness.sli import Sample, latencies
from harness.view import RunView

UNIT = "ms"
TIMING = True


def values(requests: pd.DataFrame, view: RunView, everything: bool) -> Sample:
    """One value per request in ms. An attempt that timed out without a token is censored at its limit."""
    limits = {"timeout_ttft": view.limits.first_token * 1000, "timeout_total": view.limits.total * 1000}
    return latencies(requests, "ttft_from_schedule_ms", everything, limits)
