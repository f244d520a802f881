"""Options of the fault ``weight``."""

from __future__ import annotations

from pydantic import Field

from harness.model.options import drain


class Options(drain.Options):
    """``percent`` of the configured weight; 0 is no new requests. Replicas whose weights differ are drawn by lot."""

    percent: int = Field(ge=0, lt=100)
