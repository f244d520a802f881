"""Options of the operation ``restart``."""

from __future__ import annotations

from pydantic import Field

from harness.model.options import drain
from harness.model.scenario import Seconds


class Options(drain.Options):
    """``drain_within`` is how long running streams are waited for, ``grace`` how long SIGTERM is given.

    ``drain: false`` restarts it under its streams, as people do who are in a hurry. It is begun when so many
    ``streams`` run on the replica, or after ten seconds: one without any would show nothing.
    """

    streams: int = Field(default=0, ge=0)
    drain: bool = True
    drain_within: Seconds = 30.0
    grace: Seconds = 10.0
