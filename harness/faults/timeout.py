"""Nothing crosses the link any more, and nobody is told: connections stay open and silent."""

from __future__ import annotations

from harness.adapters.toxiproxy import Toxic
from harness.faults.link import LOOK_S, LinkFault
from harness.probes.path import PathSample
from harness.scenario import Strict


class Options(Strict):
    """No options: silence lasts until the heal, which closes the connections that were held."""


class Timeout(LinkFault[Options]):
    """Toxiproxy's ``timeout`` with 0: data is swallowed until the toxic is removed."""

    Options = Options
    type = "timeout"

    def toxic(self) -> Toxic:
        """0 = never closes by itself."""
        return Toxic("drillyard_timeout", "timeout", "downstream", {"timeout": 0})

    def extra_ms(self, before: PathSample) -> float:
        """An answer, however late, is no silence."""
        return LOOK_S * 1000 + 1


FAULT = Timeout
