"""Options of the fault ``slicer``."""

from __future__ import annotations

from pydantic import Field

from harness.model.scenario import Seconds, Strict


class Options(Strict):
    """Slices of ``size`` bytes (± ``variation``), ``delay`` between two of them."""

    size: int = Field(ge=1)
    variation: int = Field(default=0, ge=0)
    delay: Seconds
