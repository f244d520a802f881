"""The link carries only so many bytes per second."""

from __future__ import annotations

from harness.adapters.toxiproxy import Toxic
from harness.faults.link import LinkFault
from harness.model.options.bandwidth import Options
from harness.probes.path import PathSample


class Bandwidth(LinkFault[Options]):
    """Toxiproxy's ``bandwidth`` on the way back to the client."""

    type = "bandwidth"

    def toxics(self) -> tuple[Toxic, ...]:
        """Rate in KB/s."""
        return (Toxic("drillyard_bandwidth", "bandwidth", "downstream", {"rate": self.options.rate_kb}),)

    def extra_ms(self, before: PathSample) -> float:
        """Half of what the body of the healthy crossing needs at that rate."""
        return 0.5 * before.body_bytes / (self.options.rate_kb * 1024) * 1000


FAULT = Bandwidth
