"""A component gets no more memory: what it asks for beyond the limit, the kernel refuses, or kills it for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from harness.faults.base import FaultContext, Proof, to_the_end
from harness.faults.component import ComponentFault
from harness.model.errors import FaultError
from harness.model.journal import Undo
from harness.model.options.memory import Options
from harness.model.topology import Topology
from stack.runtimes.base import ComponentStats, LimitsMemory, able

#: How long the component may take to ask for more than it may have.
HIT_WITHIN_S = 20.0


class Memory(ComponentFault[Options]):
    """A memory limit of its container, or of a cgroup made for its processes.

    The proof is the kernel's own count of what it refused. A limit that nothing runs into has no effect.
    """

    type = "memory"
    needs = (LimitsMemory,)
    proven_again = False  # the kernel's count goes on from the first refusal: it would prove nothing new
    limit_before: int | None = None
    stats_before: ComponentStats | None = None
    limit_bytes: int = 0

    @staticmethod
    def targets(topology: Topology) -> list[str]:
        """All replicas."""
        return list(topology.replicas)

    def undo(self) -> Undo:
        """The limit that was there before, or none."""
        return Undo(self.id, "restore_memory", {"component": self.on, "limit_bytes": self.limit_before}, self.phase)

    async def measure(self, context: FaultContext) -> None:
        """Its signs of life, its limit, and what the kernel has counted so far."""
        await super().measure(context)
        self.limit_before = await asyncio.to_thread(able(context.runtime, LimitsMemory).memory_limit, self.on)
        self.stats_before = await asyncio.to_thread(context.runtime.stats, self.on)

    async def inject(self, context: FaultContext) -> None:
        """Limit it to what it is charged for now, and the headroom."""
        assert self.stats_before is not None, "measure comes first"
        held_bytes = self.stats_before.charged_bytes
        if held_bytes is None:  # 0 would be another limit, or none
            raise FaultError(f"nobody tells how much memory {self.on} holds: its memory cannot be limited to that")
        self.limit_bytes = held_bytes + self.options.headroom_mb * 1024**2
        await to_the_end(able(context.runtime, LimitsMemory).limit_memory, self.on, self.limit_bytes)

    async def verify(self, context: FaultContext) -> Proof:
        """Use it until the kernel has counted a refusal, some seconds at most. Unread counts are not zero."""
        deadline = time.monotonic() + HIT_WITHIN_S
        while True:
            health = await self.probe(context)
            stats = await asyncio.to_thread(context.runtime.stats, self.on)
            if stats.limit_hits is None and stats.oom_kills is None:
                why = f"the fault had no effect: the kernel keeps no count of a memory limit for {self.on}"
                return Proof(False, why, self.seen_before(), health.seen)
            hits, kills = self._since(stats)
            seen = f"memory beyond the limit was asked for {hits} times, {kills} processes were killed; {health.seen}"
            if hits or kills:
                return Proof(True, f"{self.on} ran into its memory limit", self.seen_before(), seen)
            if time.monotonic() > deadline:
                why = f"the fault had no effect: {self.on} never asked for more memory than it may have"
                return Proof(False, why, self.seen_before(), seen)
            await asyncio.sleep(0.2)

    def what_is_left(self, context: FaultContext) -> str:
        """Its limit, where that is not the one before; or what the runtime says of any component."""
        limit = able(context.runtime, LimitsMemory).memory_limit(self.on)
        if limit != self.limit_before:
            return f"the memory of {self.on} is limited to {limit} bytes, before it was {self.limit_before}"
        return super().what_is_left(context)

    def _since(self, now: ComponentStats) -> tuple[int, int]:
        """Refusals and kills since the fault began."""
        assert self.stats_before is not None, "measure comes first"
        hits = (now.limit_hits or 0) - (self.stats_before.limit_hits or 0)
        return max(hits, 0), max((now.oom_kills or 0) - (self.stats_before.oom_kills or 0), 0)


def _restore_memory(context: FaultContext, args: Mapping[str, Any]) -> None:
    """Give the component the limit that it had, or none."""
    able(context.runtime, LimitsMemory).limit_memory(args["component"], args["limit_bytes"])


UNDO = {"restore_memory": _restore_memory}
FAULT = Memory
