"""Nothing crosses the link any more, and nobody is told: connections stay open and silent."""

from __future__ import annotations

import math

from harness.adapters.toxiproxy import Toxic
from harness.faults.link import LinkFault
from harness.model.options import NoOptions
from harness.probes.path import PathSample


class Timeout(LinkFault[NoOptions]):
    """Toxiproxy's ``timeout`` with 0, both ways: data is swallowed until the toxics are removed.

    One way would not be silence: with only the answers swallowed, the server still gets the request, ends its answer,
    and toxiproxy hands that end on as a closed connection (seen with 2.12: EOF after 240 ms).
    """

    type = "timeout"
    silences = True

    def toxics(self) -> tuple[Toxic, ...]:
        """0 = never closes by itself."""
        return tuple(
            Toxic(f"drillyard_timeout_{stream}", "timeout", stream, {"timeout": 0})
            for stream in ("upstream", "downstream")
        )

    def extra_ms(self, before: PathSample) -> float:
        """An answer, however late, is no silence."""
        return math.inf


FAULT = Timeout
