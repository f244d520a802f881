"""Connections over the link are reset."""

from __future__ import annotations

import math

from harness.adapters.toxiproxy import Toxic
from harness.faults.link import LinkFault
from harness.model.options.reset import Options
from harness.probes.path import PathSample


class Reset(LinkFault[Options]):
    """Toxiproxy's ``reset_peer`` on the way back to the client."""

    type = "reset"
    fails_at_once = True

    def toxics(self) -> tuple[Toxic, ...]:
        """Milliseconds until the reset."""
        return (Toxic("drillyard_reset", "reset_peer", "downstream", {"timeout": int(self.options.after * 1000)}),)

    def extra_ms(self, before: PathSample) -> float:
        """A whole answer, however late, is no reset."""
        return math.inf


FAULT = Reset
