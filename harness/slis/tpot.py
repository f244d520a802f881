"""Time per output token: (e2e − ttft) / (output tokens − 1)."""

import pandas as pd

from harness.sli import Sample, of_ok
from harness.view import RunView

UNIT = "ms"
TIMING = True


def values(requests: pd.DataFrame, view: RunView, everything: bool) -> Sample:
    """One value per request in ms; answers of one token have none."""
    gaps = requests["output_tokens"].astype(float) - 1
    return of_ok(requests, (requests["e2e_ms"] - requests["ttft_ms"]) / gaps.where(gaps > 0), everything)
