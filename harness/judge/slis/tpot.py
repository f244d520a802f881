"""Time per output token: (e2e − ttft) / (output tokens − 1)."""

from harness.evidence.attempts import Rows
from harness.evidence.view import RunView
from harness.judge.sli import Sample, counted, sample, waited_ms

UNIT = "ms"
TIMING = True
WORSE = "higher"


def values(requests: Rows, view: RunView, everything: bool) -> Sample:
    """One value per request in ms; answers of one token have none.

    A stream that timed out is censored at the value that it would have with ``max_tokens`` tokens at the time-out; an
    attempt without a token at 0.
    """
    requests = counted(requests[view.of_streams(requests)], everything)
    gaps = requests["output_tokens"].astype(float) - 1
    each = (requests["e2e_ms"] - requests["ttft_ms"]) / gaps.where(gaps > 0)
    if not everything:
        return sample(requests, each)
    waited, most = waited_ms(requests, view.limits), requests["max_tokens"].astype(float) - 1
    at_least = ((waited - requests["ttft_ms"]) / most.where(most > 0)).fillna(0.0).where(waited.notna())
    return sample(requests, each, at_least)
