"""End-to-end time: last byte − start of the attempt."""

from harness.evidence.attempts import Rows
from harness.evidence.view import RunView
from harness.judge.sli import Sample, counted, sample, waited_ms

UNIT = "ms"
TIMING = True
WORSE = "higher"


def values(requests: Rows, view: RunView, everything: bool) -> Sample:
    """One value per request in ms. An attempt that timed out is censored where its client gave up."""
    requests = counted(requests, everything)
    return sample(requests, requests["e2e_ms"], waited_ms(requests, view.limits) if everything else None)
