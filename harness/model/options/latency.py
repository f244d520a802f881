"""Options of the fault ``latency``."""

from __future__ import annotations

from harness.model.scenario import Seconds, Strict


class Options(Strict):
    """``latency`` is added to each chunk, give or take ``jitter``."""

    latency: Seconds
    jitter: Seconds = 0.0
