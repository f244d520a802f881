"""Tokens per second of one stream: output tokens / (e2e − ttft); what one user sees, not what a server does."""

import pandas as pd

from harness.sli import Sample, of_ok
from harness.view import RunView

UNIT = "tokens/s"
TIMING = True


def values(requests: pd.DataFrame, view: RunView, everything: bool) -> Sample:
    """One value per request in tokens per second; streams of no duration have none."""
    seconds = (requests["e2e_ms"] - requests["ttft_ms"]) / 1000
    return of_ok(requests, requests["output_tokens"].astype(float) / seconds.where(seconds > 0), everything)
