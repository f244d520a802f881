"""Options of the operation ``swap``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.model.options import drain
from harness.model.scenario import Seconds


class Options(drain.Options):
    """``candidate`` is a model; ``percent`` of the users' requests go to it until it is judged.

    ``expect`` is how the rollout should end and ``stopped_by`` the gate that should stop it: what the checks ask.
    ``start_within`` is how long a replica that was started may take to its first token, and to the gateways' notice.
    ``hold`` is how long each stage lasts at least, the canary twice as long: only some of the users meet it.
    """

    candidate: str = "v2"
    percent: int = Field(default=10, ge=1, le=49)
    quality: float = Field(default=0.95, gt=0, le=1)
    slower: float = Field(default=1.5, gt=1)
    expect: Literal["promoted", "rolled back"] = "promoted"
    stopped_by: tuple[Literal["start", "version", "errors", "quality", "ttft", "rate"], ...] = ()
    hold: Seconds = 10.0
    start_within: Seconds = 120.0
    drain_within: Seconds = 30.0
    grace: Seconds = 10.0
