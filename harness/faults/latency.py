"""Everything that crosses the link arrives later. Moves the first token, not the gaps between tokens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from harness.adapters.toxiproxy import Toxic
from harness.faults.base import FaultContext
from harness.faults.link import LOOK_S, LinkFault, remove_toxics, renew_proxy
from harness.model.errors import AdapterError
from harness.model.options.latency import Options
from harness.probes.path import PathSample

#: Between setting the delay to 0 and removing the toxic: toxiproxy forwards what it holds meanwhile, and closes the
#: connections of clients that have disconnected. That takes one scheduling step; heals take seconds.
DRAIN_S = 0.2


class Latency(LinkFault[Options]):
    """Toxiproxy's ``latency`` on the way back to the client."""

    type = "latency"

    def toxics(self) -> tuple[Toxic, ...]:
        """Milliseconds, as toxiproxy wants them."""
        delay, jitter = int(self.options.latency * 1000), int(self.options.jitter * 1000)
        return (Toxic("drillyard_latency", "latency", "downstream", {"latency": delay, "jitter": jitter}),)

    @staticmethod
    def shown_ms(sample: PathSample) -> float:
        """The first byte: how long an answer takes after it varies, with its server and not with the delay."""
        assert sample.headers_ms is not None, "it was answered"
        return sample.headers_ms

    def heals_by(self) -> str:
        """The link forwards what it holds first, so that no request is cut."""
        return "drain_latency"

    def extra_ms(self, before: PathSample) -> float:
        """Four fifths of the smallest delay; more than the look itself lasts shows as a time-out."""
        least_s = max(self.options.latency - self.options.jitter, 0.001)
        return min(0.8 * least_s, LOOK_S) * 1000


def _drain_latency(context: FaultContext, args: Mapping[str, Any]) -> None:
    """Set the delay to 0, so that the link forwards what it holds; then remove the toxic as any other.

    Removal alone deadlocks toxiproxy 2.12 if a client has disconnected while two chunks were waiting for it: removal
    writes all waiting chunks to a reader that has ended, holding a lock that the reader's end needs. The accept loop
    needs that lock, too, and deleting the proxy waits for the accept loop. A change of the delay forwards one chunk at
    most, and the others follow when the lock is free again.
    """
    try:
        for toxic in args["toxics"]:
            context.toxiproxy.change(args["proxy"], toxic, {"latency": 0, "jitter": 0})
    except AdapterError as error:
        renew_proxy(context, args, str(error))
        return
    time.sleep(DRAIN_S)
    remove_toxics(context, args)


UNDO = {"drain_latency": _drain_latency}
FAULT = Latency
