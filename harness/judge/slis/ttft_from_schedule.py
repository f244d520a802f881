"""Time to the first token counted from the intended start: first event with content − intended start of the request."""

from harness.evidence.attempts import Rows
from harness.evidence.view import RunView
from harness.judge.sli import Sample, counted, lag_ms, sample, waited_ms

UNIT = "ms"
TIMING = True
WORSE = "higher"


def values(requests: Rows, view: RunView, everything: bool) -> Sample:
    """One value per request in ms. An attempt that timed out without a token is censored where its client gave up."""
    requests = counted(requests[view.of_streams(requests)], everything)
    ttft = requests["ttft_from_schedule_ms"]
    if not everything:
        return sample(requests, ttft)
    waited = waited_ms(requests, view.limits) + lag_ms(requests)
    return sample(requests, ttft, waited.where(ttft.isna()))
