"""Options of the fault ``widened``."""

from __future__ import annotations

from pydantic import Field

from harness.model.scenario import Strict


class Options(Strict):
    """``connections`` long prompts at a time in each replica."""

    connections: int = Field(default=32, ge=1, le=1000)
