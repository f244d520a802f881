"""Time to the first token: first event with content − start of the attempt."""

import pandas as pd

from harness.sli import Sample, sample, waited_ms
from harness.view import RunView

UNIT = "ms"
TIMING = True


def values(requests: pd.DataFrame, view: RunView, everything: bool) -> Sample:
    """One value per request in ms. An attempt that timed out without a token is censored where its client gave up."""
    ttft = requests["ttft_ms"]
    return sample(requests, ttft, everything, waited_ms(requests, view.limits).where(ttft.isna()))
