"""The far side of the link hears late that the near side has hung up: a cancel comes too late to save any work."""

from __future__ import annotations

import asyncio
import time

from harness.adapters.toxiproxy import Toxic
from harness.faults.base import World
from harness.faults.link import LOOK_S, LinkFault
from harness.probes.path import PathSample
from harness.scenario import Seconds, Strict


class Options(Strict):
    """``delay`` is how long a connection is kept open for somebody who has gone."""

    delay: Seconds


class SlowClose(LinkFault[Options]):
    """Toxiproxy's ``slow_close`` on the way to the far side."""

    Options = Options
    type = "slow_close"

    def toxics(self) -> tuple[Toxic, ...]:
        """Milliseconds between a hang-up and its arrival."""
        return (Toxic("drillyard_slow_close", "slow_close", "upstream", {"delay": int(self.options.delay * 1000)}),)

    def extra_ms(self, before: PathSample) -> float:
        """Half of the delay."""
        return 500 * self.options.delay

    async def _cross(self, world: World) -> PathSample:
        """Connect, say nothing, hang up one way: the far side closes the other way once it has heard of it."""
        link, began = world.topology.link(self.on), time.monotonic()
        try:
            async with asyncio.timeout(LOOK_S):
                reader, writer = await asyncio.open_connection(link.listen_address, link.listen_port)
                try:
                    writer.write_eof()
                    await reader.read()
                    outcome = "ok"
                finally:
                    writer.close()
        except TimeoutError:
            outcome = "timeout"
        except OSError:
            outcome = "broken"
        took_ms = (time.monotonic() - began) * 1000
        return PathSample(outcome, took_ms if outcome == "ok" else None, e2e_ms=took_ms)


FAULT = SlowClose
