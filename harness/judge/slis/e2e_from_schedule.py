"""End-to-end time counted from the intended start: what an outage really cost."""

from harness.evidence.attempts import Rows
from harness.evidence.view import RunView
from harness.judge.sli import Sample, counted, lag_ms, sample, waited_ms

UNIT = "ms"
TIMING = True
WORSE = "higher"


def values(requests: Rows, view: RunView, everything: bool) -> Sample:
    """One value per request in ms. An attempt that timed out is censored where its client gave up."""
    requests = counted(requests, everything)
    waited = waited_ms(requests, view.limits) + lag_ms(requests) if everything else None
    return sample(requests, requests["e2e_from_schedule_ms"], waited)
