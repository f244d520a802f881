"""Retries: jittered, capped, polite."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from harness.evidence.record import OUTCOMES, RETRYABLE
from harness.load.retries import delay_s
from harness.model.scenario import Retries

POLICY = Retries(max=3, base="300ms", cap="1s")


@given(st.integers(1, 3), st.integers(0, 2**32), st.one_of(st.none(), st.floats(0, 10)))
def test_bounds(attempt: int, seed: int, retry_after_s: float | None) -> None:
    """Never sooner than Retry-After, never later than that plus the cap."""
    delay = delay_s(POLICY, attempt, "http_5xx", retry_after_s, 10.0, random.Random(seed))
    assert delay is not None
    assert 0 <= delay - (retry_after_s or 0.0) <= min(1.0, 0.3 * 2 ** (attempt - 1)) + 1e-9


def test_jitter_spreads_over_the_whole_range() -> None:
    """Full jitter: no two clients that failed together come back together, with Retry-After or without."""
    for after_s in (None, 2.0):
        delays = [delay_s(POLICY, 1, "shed_503", after_s, 10.0, random.Random(seed)) or 0.0 for seed in range(500)]
        assert len(set(delays)) == 500
        assert max(delays) - min(delays) > 0.9 * 0.3


def test_ends() -> None:
    """No retry past the limit, after a success, or when the server asks for more patience than there is."""
    rng = random.Random(1)
    assert delay_s(POLICY, 4, "http_5xx", None, 10.0, rng) is None
    assert delay_s(POLICY, 1, "ok", None, 10.0, rng) is None
    assert delay_s(POLICY, 1, "shed_429", 60.0, 10.0, rng) is None


def test_what_is_tried_again() -> None:
    """Known outcomes only; never what a second try cannot mend or what the harness ended itself."""
    assert set(OUTCOMES) >= RETRYABLE
    assert not RETRYABLE & {"ok", "http_4xx", "wrong_model", "cancelled_intended", "cancelled_drain", "not_sent"}
