"""Error ratio: requests that were neither good nor cancelled on purpose, in percent of all that count."""

import dataclasses

from harness.evidence.attempts import Rows
from harness.evidence.evidence import Evidence
from harness.judge.sli import Measurement
from harness.judge.slis import availability

UNIT = "%"
#: As availability is.
TIMING = True
WORSE = "higher"


def measure(requests: Rows, view: Evidence) -> Measurement:
    """100 % − availability, with the same count."""
    found = availability.measure(requests, view)
    return found if found.value is None else dataclasses.replace(found, value=100.0 - found.value)
