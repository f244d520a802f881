"""Everything that crosses the link arrives later. Moves the first token, not the gaps between tokens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from harness.adapters.toxiproxy import Toxic
from harness.errors import AdapterError
from harness.faults.base import World
from harness.faults.link import LOOK_S, LinkFault, remove_toxics, renew_proxy
from harness.probes.path import PathSample
from harness.scenario import Seconds, Strict

#: Between the order to delay nothing any more and the toxic's removal. What was held goes on by itself meanwhile: to
#: who is there, and to who has gone, whose connection ends then. A matter of a scheduling step, and heals take seconds.
DRAIN_S = 0.2


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
        """What the link holds is let go first: nobody who is being served is cut."""
        return "drain_latency"

    def extra_ms(self, before: PathSample) -> float:
        """Four fifths of the smallest delay; more than the look itself lasts shows as a time-out."""
        least_s = max(self.options.latency - self.options.jitter, 0.001)
        return min(0.8 * least_s, LOOK_S) * 1000


def _drain_latency(world: World, args: Mapping[str, Any]) -> None:
    """Delay nothing any more, so that what waits goes on at once; then remove the toxic, as any other.

    Removal alone would deadlock toxiproxy when a client has gone while two chunks were waiting for it, and then the
    next connection blocks everything else (2.12: removal hands all that waits to a reader that has ended, under a lock
    that this end waits for; the accept loop waits for it, too, and dropping the proxy for the accept loop). A change of
    the delay hands on one chunk at most, and all others go when the lock is free again.
    """
    try:
        for toxic in args["toxics"]:
            world.toxiproxy.change(args["proxy"], toxic, {"latency": 0, "jitter": 0})
    except AdapterError as error:
        renew_proxy(world, args, str(error))
        return
    time.sleep(DRAIN_S)
    remove_toxics(world, args)


UNDO = {"drain_latency": _drain_latency}
FAULT = Latency
