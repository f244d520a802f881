"""Everything that crosses the link arrives later. Moves the first token, not the gaps between tokens."""

from __future__ import annotations

from harness.adapters.toxiproxy import Toxic
from harness.faults.link import LOOK_S, LinkFault
from harness.probes.path import PathSample
from harness.scenario import Seconds, Strict

#: The longest delay that is taken back by removing the toxic. Removal deadlocks toxiproxy when a client has gone while
#: two chunks were waiting for it, and then the next connection blocks everything else (2.12: its accept loop waits for
#: the same lock, and dropping the proxy waits for the accept loop). The longer chunks wait, the likelier.
REMOVABLE_S = 1.0


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

    def heals_by(self) -> str:
        """A long delay goes with its proxy: see ``REMOVABLE_S``. What the link still held is lost."""
        longest_s = self.options.latency + self.options.jitter
        return "renew_proxy" if longest_s > REMOVABLE_S else super().heals_by()

    def extra_ms(self, before: PathSample) -> float:
        """Four fifths of the smallest delay; more than the look itself lasts shows as a time-out."""
        least_s = max(self.options.latency - self.options.jitter, 0.001)
        return min(0.8 * least_s, LOOK_S) * 1000


FAULT = Latency
