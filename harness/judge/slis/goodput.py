"""Goodput: requests that were good and met every latency limit, in percent of the requests attempted."""

import pandas as pd

from harness.evidence.attempts import Rows
from harness.evidence.view import RunView
from harness.judge.sli import Measurement, ratio

UNIT = "%"
TIMING = True
WORSE = "lower"


def within_limits(requests: Rows, view: RunView) -> pd.Series:
    """Per row: ``ok``, and no later than the clients' limits counted from the *intended* start."""
    limits = view.limits
    late = requests["ttft_from_schedule_ms"].gt(limits.first_token * 1000)
    late |= requests["e2e_from_schedule_ms"].gt(limits.total * 1000)
    late |= requests["max_stall_ms"].gt(limits.idle * 1000)
    return requests["outcome"].eq("ok") & ~late


def measure(requests: Rows, view: RunView) -> Measurement:
    """Percent of requests that ended ``ok`` within the clients' limits."""
    final = requests[requests["final"].eq(True)]
    return ratio(within_limits(final, view), final)
