"""Time to the first token: first event with content − start of the attempt."""

import pandas as pd

from harness.sli import Sample, latencies
from harness.view import RunView

UNIT = "ms"
TIMING = True


def values(requests: pd.DataFrame, view: RunView, everything: bool) -> Sample:
    """One value per request in ms. An attempt that timed out without a token is censored at its limit."""
    limits = {"timeout_ttft": view.limits.first_token * 1000, "timeout_total": view.limits.total * 1000}
    return latencies(requests, "ttft_ms", everything, limits)
