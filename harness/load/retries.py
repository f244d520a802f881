"""Client retries: full jitter, capped, never sooner than the server asked for.

Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

import random

from harness.evidence.record import RETRYABLE
from harness.model.scenario import Retries


def delay_s(
    retries: Retries, attempt: int, outcome: str, retry_after_s: float | None, patience_s: float, rng: random.Random
) -> float | None:
    """Seconds to wait after the failed ``attempt`` (1, 2, …), or None when the request ends here.

    Uniform in [0, min(cap, base · 2^(attempt−1))], on top of Retry-After where the answer carried one: the crowd that
    was told «in one second» must not come back in one instant. A server that asks for more than ``patience_s`` has
    sent its user away.
    """
    if outcome not in RETRYABLE or attempt > retries.max:
        return None
    wait_s = retry_after_s or 0.0
    if wait_s > patience_s:
        return None
    return wait_s + rng.uniform(0.0, min(retries.cap, retries.base * 2 ** (attempt - 1)))
