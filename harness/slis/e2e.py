"""End-to-end time: last byte − start of the attempt."""

import pandas as pd

from harness.sli import Sample, sample, waited_ms
from harness.view import RunView

UNIT = "ms"
TIMING = True


def values(requests: pd.DataFrame, view: RunView, everything: bool) -> Sample:
    """One value per request in ms. An attempt that timed out is censored where its client gave up."""
    return sample(requests, requests["e2e_ms"], everything, waited_ms(requests, view.limits))
