"""Time per output token: (e2e − ttft) / (output tokens − 1)."""

from harness.evidence.attempts import Rows
from harness.evidence.view import RunView
from harness.judge.sli import Sample, sample, waited_ms

UNIT = "ms"
TIMING = True
WORSE = "higher"


def values(requests: Rows, view: RunView, everything: bool) -> Sample:
    """One value per request in ms; answers of one token have none.

    A stream that timed out is censored at the value that it would have with ``max_tokens`` tokens at the time-out; an
    attempt without a token at 0.
    """
    requests = requests[view.of_streams(requests)]
    gaps, most = requests["output_tokens"].astype(float) - 1, requests["max_tokens"].astype(float) - 1
    waited = waited_ms(requests, view.limits)
    at_least = ((waited - requests["ttft_ms"]) / most.where(most > 0)).fillna(0.0).where(waited.notna())
    return sample(requests, (requests["e2e_ms"] - requests["ttft_ms"]) / gaps.where(gaps > 0), everything, at_least)
