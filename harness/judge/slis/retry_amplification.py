"""Retry amplification at the client: attempts per request."""

from harness.evidence.attempts import Rows
from harness.evidence.evidence import Evidence
from harness.judge.sli import Measurement

UNIT = ""
#: What times out is tried again.
TIMING = True
WORSE = "higher"


def measure(requests: Rows, view: Evidence) -> Measurement:
    """Attempts / requests; 1 when nobody had to try again."""
    count = int(requests["final"].eq(True).sum())
    if count == 0:
        return Measurement(None, UNIT, 0, "there were no requests to count")
    most = requests[requests["attempt"].gt(1)]["request_id"].unique()[:5]
    return Measurement(len(requests) / count, UNIT, count, examples=tuple(str(i) for i in most))
