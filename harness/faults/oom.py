"""A replica runs out of memory and the kernel kills it; then the limit is lifted, and it is started again as ever."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

from harness.faults import comeback, streams
from harness.faults.base import FaultContext, Proof, take_back, tell_step, to_the_end
from harness.faults.memory import Memory
from harness.model.errors import AdapterError, StackError, UsageError
from harness.model.options.oom import Options
from harness.model.topology import Topology
from harness.probes.health import probe
from stack.runtimes.base import ComponentState, LimitsMemory, able

#: How long the replica, asked for tokens all the while, may take to run into its limit.
KILLED_WITHIN_S = 30.0
_LOOK_S, _EVERY_S = 1.0, 0.05
_NOTICED_WITHIN_S = 30.0
#: Steps in which a limit without headroom is lowered, bytes: a large one first, a smaller one where that is refused.
_SQUEEZE = (4 * 1024**2, 1024**2, 256 * 1024, 64 * 1024)


class Oom(Memory):
    """A memory limit that the replica runs into while it works, until the kernel has killed a process of it.

    Without headroom the limit is lowered as far as the kernel gives way. What it can reclaim, like its own tables of
    files, counts as used, but lets the replica grow: one worked on for 50 s, until a health check was started.

    The proof is the kernel's count of the processes that it killed for this very limit, not an exit status. Where no
    limit can be had, its processes are killed instead; that is told as «emulated», and proves no count.
    """

    type = "oom"
    lasts = False  # the limit is lifted once the kernel has killed
    options: Options
    emulated: str | None = None  # why there was no limit
    kills: int = 0
    killed: bool = False
    first: ComponentState | None = None

    @staticmethod
    def counts(options: Any, on: str, topology: Topology) -> dict[str, Any]:
        """The kill, and that there is memory again."""
        return {"steps": ["killing", "killed", "limit_lifted"]}

    async def measure(self, context: FaultContext) -> None:
        """As for any limit, and which process it is."""
        await super().measure(context)
        self.first = await self.state(context)

    async def inject(self, context: FaultContext) -> None:
        """Limit it, make it work until it was killed, and lift the limit, so that it can start again."""
        if self.options.streams:
            await streams.come(context, self.on, context.topology.gateways, self.options.streams)
        tell_step(context, self, "killing")
        try:
            await super().inject(context)
            await self._until_killed(context)
        except UsageError as error:
            self.emulated = str(error)
            await to_the_end(context.runtime.kill, self.on)
            self.killed = True
        if self.killed:
            tell_step(context, self, "killed", oom_kills=self.kills, emulated=self.emulated)
            await to_the_end(take_back, context, self.undo())
            tell_step(context, self, "limit_lifted")

    async def verify(self, context: FaultContext) -> Proof:
        """Another process than before, and the kernel's count."""
        assert self.first is not None, "measure comes first"
        deadline = time.monotonic() + _NOTICED_WITHIN_S
        while True:
            now = await self.state(context)
            replaced = now.incarnation != self.first.incarnation or now.restarts > self.first.restarts
            if replaced or time.monotonic() > deadline:
                break
            await asyncio.sleep(_EVERY_S)
        seen = f"process {self.first.pid} → {now.pid or 'none'}, the kernel counted {self.kills} kills for its limit"
        if not (self.killed and replaced):
            return Proof(False, f"the fault had no effect: {self.on} was not killed", self.seen_before(), seen)
        if self.emulated is not None:
            return Proof(True, f"emulated: {self.on} was killed by hand ({self.emulated})", self.seen_before(), seen)
        return Proof(True, f"the kernel killed {self.on} for its memory limit", self.seen_before(), seen)

    async def come_back(self, context: FaultContext) -> None:
        """With the first token of the replica that was started again: one that lost only its engine dies slowly, and
        calls itself healthy meanwhile."""
        assert self.first is not None, "measure comes first"
        while (await self.state(context)).incarnation in (None, self.first.incarnation):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(comeback.EVERY_S)
        await comeback.watch(context, self)

    async def _until_killed(self, context: FaultContext) -> None:
        """Keep it working, and count until the kernel has killed; the limit stays for so long."""
        deadline, working = time.monotonic() + KILLED_WITHIN_S, asyncio.create_task(self._work(context))
        steps = itertools.cycle(_SQUEEZE)
        step = next(steps)
        try:
            while time.monotonic() < deadline:
                kills = (await asyncio.to_thread(context.runtime.stats, self.on)).oom_kills or 0
                self.kills = max(0, kills - self._kills_before())
                if self.kills:
                    self.killed = True
                    return
                if not self.options.headroom_mb and not await self._squeezed(context, step):
                    step = next(steps)
                await asyncio.sleep(_EVERY_S)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _squeezed(self, context: FaultContext, step_bytes: int) -> bool:
        """Whether the limit could be lowered by so much. Version 1 of cgroups refuses what is below the use."""
        wanted = self.limit_bytes - step_bytes
        if wanted <= 0:
            return False
        try:
            await to_the_end(able(context.runtime, LimitsMemory).limit_memory, self.on, wanted)
        except (AdapterError, StackError):
            return False
        self.limit_bytes = wanted
        return True

    async def _work(self, context: FaultContext) -> None:
        replica: Any = context.topology.component(self.on)
        while True:
            await probe(context.path, replica, _LOOK_S)

    def _kills_before(self) -> int:
        """What the kernel had counted before; a cgroup that is made for this begins at none."""
        assert self.stats_before is not None, "measure comes first"
        return self.stats_before.oom_kills or 0


FAULT = Oom
