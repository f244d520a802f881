"""Largest gap between consecutive content events of one stream: what users feel in a network fault.

A whole stream with one content event has no gap between two: its stall is the silence from that event to its end. Our
own engines stream token by token: there only an answer of one token has one event, and any other was held back by
somebody, for a time that nobody knows.
"""

import numpy as np

from harness.evidence.attempts import Rows
from harness.evidence.view import RunView
from harness.judge.sli import ABANDONED, Sample, counted, sample, waited_ms

UNIT = "ms"
TIMING = True
WORSE = "higher"


def values(requests: Rows, view: RunView, everything: bool) -> Sample:
    """One value per stream in ms. An attempt that was cut off is censored at the gap in which its client gave up.

    Without a token that is its whole time; after ``timeout_stall`` the idle limit; after ``timeout_total``, which may
    have had tokens until the end, the largest gap seen. A client that hung up in a stream felt the gaps until then.
    """
    requests = counted(requests[view.of_streams(requests)], everything)
    seen = requests["max_stall_ms"].astype(float)
    alone = requests["outcome"].eq("ok") & requests["content_events"].eq(1)
    if view.target is None:  # usage counts the token that ends an answer
        alone &= (requests["output_tokens"] - requests["finish_reason"].eq("stop")).le(1)
    after_ms = (requests["e2e_ms"].astype(float) - requests["ttft_ms"].astype(float)).clip(lower=0)
    seen = seen.mask(alone & seen.isna(), after_ms)
    if not everything:
        return sample(requests, seen)
    of_stream = requests["outcome"].eq("timeout_stall") * (1000 * view.limits.idle)
    waited = waited_ms(requests, view.limits)
    waited = waited.mask(requests["outcome"].isin(ABANDONED) & requests["ttft_ms"].notna())
    silent = waited.where(requests["ttft_ms"].isna() | waited.isna(), of_stream)
    return sample(requests, seen, silent.where(silent.isna(), np.fmax(seen, silent)))
