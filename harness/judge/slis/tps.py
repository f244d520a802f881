"""Tokens per second of one stream: output tokens / (e2e − ttft); what one user sees, not what a server does."""

import math

from harness.evidence.attempts import Rows
from harness.evidence.view import RunView
from harness.judge.sli import Sample, counted, sample, waited_ms

UNIT = "tokens/s"
TIMING = True
WORSE = "lower"


def values(requests: Rows, view: RunView, everything: bool) -> Sample:
    """One value per request in tokens per second; streams of no duration have none.

    The upper bound of a stream that timed out is its value with ``max_tokens`` tokens at the time-out; an attempt
    without a token has none.
    """
    requests = counted(requests[view.of_streams(requests)], everything)
    seconds = (requests["e2e_ms"] - requests["ttft_ms"]) / 1000
    rate = requests["output_tokens"].astype(float) / seconds.where(seconds > 0)
    if not everything:
        return sample(requests, rate)
    waited = waited_ms(requests, view.limits)
    streamed = (waited - requests["ttft_ms"]) / 1000
    at_most = (requests["max_tokens"].astype(float) / streamed.where(streamed > 0)).fillna(math.inf)
    return sample(requests, rate, waited.where(waited.isna(), 0.0), at_most)
