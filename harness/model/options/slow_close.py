"""Options of the fault ``slow_close``."""

from __future__ import annotations

from harness.model.scenario import Seconds, Strict


class Options(Strict):
    """``delay`` is how long a connection is kept open for somebody who has gone."""

    delay: Seconds
