"""Time to the first token: first event with content − start of the attempt."""

from harness.evidence.attempts import Rows
from harness.evidence.view import RunView
from harness.judge.sli import Sample, sample, waited_ms

UNIT = "ms"
TIMING = True
WORSE = "higher"


def values(requests: Rows, view: RunView, everything: bool) -> Sample:
    """One value per stream in ms. An attempt that was cut off without a token is censored where its client gave up."""
    requests = requests[view.of_streams(requests)]
    ttft = requests["ttft_ms"]
    return sample(requests, ttft, everything, waited_ms(requests, view.limits).where(ttft.isna()))
