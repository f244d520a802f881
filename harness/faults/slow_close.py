"""The far side of the link hears late that the near side has hung up: a cancel comes too late to save any work."""

from __future__ import annotations

import asyncio
import time

from harness.adapters.toxiproxy import Toxic
from harness.faults.base import FaultContext
from harness.faults.link import LinkFault
from harness.model import exhausted
from harness.model.options.slow_close import Options
from harness.probes.path import PathSample


class SlowClose(LinkFault[Options]):
    """Toxiproxy's ``slow_close`` on the way to the far side."""

    type = "slow_close"

    def toxics(self) -> tuple[Toxic, ...]:
        """Milliseconds between a hang-up and its arrival."""
        return (Toxic("drillyard_slow_close", "slow_close", "upstream", {"delay": int(self.options.delay * 1000)}),)

    def extra_ms(self, before: PathSample) -> float:
        """Half of the delay."""
        return 500 * self.options.delay

    async def _cross(self, context: FaultContext, within_s: float) -> PathSample:
        link = context.topology.link(self.on)
        return await _hang_up(link.listen_address, link.listen_port, within_s)

    async def _pair(self, context: FaultContext) -> tuple[PathSample, PathSample]:
        topology, look_s = context.topology, self._look_s()
        if topology.target is not None:
            past_it = _hang_up(*topology.target.service.connects_to, look_s)
        else:
            far = topology.component(topology.link(self.on).target)
            past_it = _hang_up(far.address, far.ports["http"], look_s)
        over_link, past = await asyncio.gather(self._cross(context, look_s), past_it)
        return over_link, past


async def _hang_up(address: str, port: int, within_s: float) -> PathSample:
    """Connect, say nothing, hang up one way: the far side closes the other way once it has heard of it."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                writer.write_eof()
                while await reader.read(65536):
                    pass  # what it says is not kept
                outcome = "ok"
            finally:
                writer.close()
    except TimeoutError:
        outcome = "timeout"
    except OSError as error:
        exhausted.raise_if_local(error)
        outcome = "broken"
    took_ms = (time.monotonic() - began) * 1000
    return PathSample(outcome, took_ms if outcome == "ok" else None, e2e_ms=took_ms)


FAULT = SlowClose
