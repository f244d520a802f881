"""Availability: good requests / (all requests − intended cancels that were cancelled before their deadline)."""

from harness.evidence.attempts import Rows
from harness.evidence.evidence import Evidence
from harness.judge.sli import Measurement, ratio

UNIT = "%"
#: Time-outs count as failures, and how many there are depends on how fast the machine is.
TIMING = True
WORSE = "lower"


def measure(requests: Rows, view: Evidence) -> Measurement:
    """Percent of the requests whose last attempt was ``ok``. A client's own cancel is nobody's failure."""
    counted = requests[requests["final"].eq(True) & requests["outcome"].ne("cancelled_intended")]
    return ratio(counted["outcome"].eq("ok"), counted)
