"""The link delivers small slices with a pause between them: streams stutter."""

from __future__ import annotations

from harness.adapters.toxiproxy import Toxic
from harness.faults.link import LinkFault
from harness.model.options.slicer import Options
from harness.probes.path import PathSample


class Slicer(LinkFault[Options]):
    """Toxiproxy's ``slicer`` on the way back to the client."""

    type = "slicer"

    def toxics(self) -> tuple[Toxic, ...]:
        """Sizes in bytes, delay in microseconds."""
        options = self.options
        attributes = {
            "average_size": options.size,
            "size_variation": options.variation,
            "delay": int(options.delay * 1_000_000),
        }
        return (Toxic("drillyard_slicer", "slicer", "downstream", attributes),)

    def extra_ms(self, before: PathSample) -> float:
        """Half of the pauses that the body of the healthy crossing would be cut by."""
        return 0.5 * before.body_bytes / self.options.size * self.options.delay * 1000


FAULT = Slicer
