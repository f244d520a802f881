"""Streams that run on a replica, by the gateways' own count: what a restart waits for, and what a kill is to meet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from harness.adapters.gateway import connect
from harness.faults.base import FaultContext

#: How long streams may take to come before a fault goes on without them.
COME_WITHIN_S = 10.0
_POLL_S = 0.05


async def running(context: FaultContext, replica: str, gateways: Sequence[str]) -> int:
    """How many requests these gateways have on ``replica`` now."""
    counts = [await asyncio.to_thread(connect(context.runtime, gateway).sessions) for gateway in gateways]
    return sum(count.get(replica, 0) for count in counts)


async def come(context: FaultContext, replica: str, gateways: Sequence[str], at_least: int) -> int:
    """Wait, bounded, until so many run at once: a fault under streams needs some to break. How many there are."""
    return await _until(context, replica, gateways, COME_WITHIN_S, lambda count: count >= at_least)


async def end(context: FaultContext, replica: str, gateways: Sequence[str], within_s: float) -> int:
    """Wait for the end of all of them, bounded. How many are left."""
    return await _until(context, replica, gateways, within_s, lambda count: count == 0)


async def _until(
    context: FaultContext, replica: str, gateways: Sequence[str], within_s: float, enough: Callable[[int], bool]
) -> int:
    deadline = time.monotonic() + within_s
    while True:
        count = await running(context, replica, gateways)
        if enough(count) or time.monotonic() > deadline:
            return count
        await asyncio.sleep(_POLL_S)
