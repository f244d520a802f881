"""Time to the first token: first event with content − start of the attempt."""

from harness.evidence.attempts import Rows
from harness.evidence.view import RunView
from harness.judge.sli import Sample, counted, sample, waited_ms

UNIT = "ms"
TIMING = True
WORSE = "higher"


def values(requests: Rows, view: RunView, everything: bool) -> Sample:
    """One value per stream in ms. An attempt that was cut off without a token is censored where its client gave up."""
    requests = counted(requests[view.of_streams(requests)], everything)
    ttft = requests["ttft_ms"]
    return sample(requests, ttft, waited_ms(requests, view.limits).where(ttft.isna()) if everything else None)
