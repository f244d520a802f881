"""Options of the fault ``reset``."""

from __future__ import annotations

from harness.model.scenario import Seconds, Strict


class Options(Strict):
    """``after`` is how long a connection lives before the reset."""

    after: Seconds = 0.0
