"""A replica that is started again: when it is ready, and when it gives its first token."""

from __future__ import annotations

import time

from harness.faults.base import Named, World, tell_step
from harness.probes.life import look, serves

#: A look at the readiness URL, and how long the first token may take: cold engines compile and page in.
READY_S, FIRST_TOKEN_S = 1.0, 20.0


class Comeback:
    """Watches one replica come back, told as steps of the fault that had it started: ``ready``, ``first_token``."""

    def __init__(self) -> None:
        self._ready = False
        self._done = False

    async def look(self, world: World, fault: Named) -> bool:
        """Look once; whether it has given a token."""
        if self._done:
            return True
        replica = world.topology.component(fault.on)
        if not self._ready:
            self._ready, _ = await serves(world.path, replica, READY_S)
            if not self._ready:
                return False
            tell_step(world, fault, "ready")
        began = time.monotonic()
        life = await look(world.path, replica, FIRST_TOKEN_S)
        if life.works:
            self._done = True
            tell_step(world, fault, "first_token", took_ms=round(1000 * (time.monotonic() - began), 1))
        return self._done
