"""Options of the fault ``stop``."""

from __future__ import annotations

from harness.model.scenario import Seconds, Strict


class Options(Strict):
    """``grace`` is how long it may take to end by itself."""

    grace: Seconds = 5.0
