"""Options of the fault ``kill``."""

from __future__ import annotations

from pydantic import Field

from harness.model.scenario import Seconds, Strict


class Options(Strict):
    """``down_for`` keeps it down so long, as a node that boots; by default it is started again at once.

    A replica is killed when so many ``streams`` run on it, or after ten seconds.
    """

    down_for: Seconds = 0.0
    streams: int = Field(default=0, ge=0)
