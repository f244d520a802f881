"""Options of the fault ``memory``."""

from __future__ import annotations

from pydantic import Field

from harness.model.scenario import Strict


class Options(Strict):
    """``headroom_mb`` is what it may still take, in MiB; with 0 the next page that it asks for is one too many."""

    headroom_mb: int = Field(ge=0)
