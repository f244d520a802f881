"""Options of the fault ``bandwidth``."""

from __future__ import annotations

from pydantic import Field

from harness.model.scenario import Strict


class Options(Strict):
    """``rate_kb`` in kilobytes per second."""

    rate_kb: int = Field(ge=1)
