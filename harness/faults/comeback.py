"""A replica that is started again: when it is ready, and when it gives its first token."""

from __future__ import annotations

import asyncio
import time

from harness.faults.base import FaultContext, Named, tell_step
from harness.probes.health import probe, serves

#: A look at the readiness URL, and how long the first token may take: cold engines compile and page in.
READY_S, FIRST_TOKEN_S = 1.0, 20.0
#: Pause between two looks.
EVERY_S = 0.25


async def watch(context: FaultContext, fault: Named) -> None:
    """Watch the replica come back, until it has given a token; told as the steps ``ready`` and ``first_token`` of what
    had it started.
    """
    replica = context.topology.component(fault.on)
    while not (await serves(context.path, replica, READY_S))[0]:  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(EVERY_S)
    tell_step(context, fault, "ready")
    while True:
        began = time.monotonic()
        if (await probe(context.path, replica, FIRST_TOKEN_S)).works:
            tell_step(context, fault, "first_token", took_ms=round(1000 * (time.monotonic() - began), 1))
            return
        await asyncio.sleep(EVERY_S)
