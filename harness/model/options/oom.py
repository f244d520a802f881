"""Options of the fault ``oom``."""

from __future__ import annotations

from pydantic import Field

from harness.model.options import memory


class Options(memory.Options):
    """A limit is set when so many ``streams`` run on the replica, or after ten seconds."""

    streams: int = Field(default=0, ge=0)
