"""Everything that crosses the link arrives later. Moves the first token, not the gaps between tokens."""

from __future__ import annotations

from harness.adapters.toxiproxy import Toxic
from harness.faults.link import LOOK_S, LinkFault
from harness.probes.path import PathSample
from harness.scenario import Seconds, Strict


class Options(Strict):
    """``latency`` is added to each chunk, give or take ``jitter``."""

    latency: Seconds
    jitter: Seconds = 0.0


class Latency(LinkFault[Options]):
    """Toxiproxy's ``latency`` on the way back to the client."""

    Options = Options
    type = "latency"

    def toxics(self) -> tuple[Toxic, ...]:
        """Milliseconds, as toxiproxy wants them."""
        delay, jitter = int(self.options.latency * 1000), int(self.options.jitter * 1000)
        return (Toxic("drillyard_latency", "latency", "downstream", {"latency": delay, "jitter": jitter}),)

    def extra_ms(self, before: PathSample) -> float:
        """Four fifths of the smallest delay; more than the look itself lasts shows as a time-out."""
        least_s = max(self.options.latency - self.options.jitter, 0.001)
        return min(0.8 * least_s, LOOK_S) * 1000


FAULT = Latency
