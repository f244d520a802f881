"""Options of the workload ``long_contexts``."""

from __future__ import annotations

from pydantic import Field

from harness.model.scenario import Seconds, Strict


class Options(Strict):
    """``demand`` times what all KV caches hold is asked for at once, for ``lasts``; each request may take ``deadline``.

    ``context`` is the share of the model's length that a prompt takes, ``max_tokens`` what it asks for on top.
    ``pressure`` demands that a KV cache was full and somebody preempted: without that there was no effect.
    """

    demand: float = Field(default=1.5, gt=0, le=20)
    context: float = Field(default=0.7, gt=0, lt=1)
    max_tokens: int = Field(default=256, ge=1, le=4096)
    lasts: Seconds = Field(default=12.0, gt=0)
    deadline: Seconds = Field(default=60.0, gt=0)
    pressure: bool = False
