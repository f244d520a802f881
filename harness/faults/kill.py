"""All processes of a component are killed from outside; the restart policy brings it back."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from harness.faults import comeback, streams
from harness.faults.base import FaultContext, Proof, tell_step, to_the_end
from harness.faults.component import ComponentFault
from harness.model.errors import FaultError
from harness.model.options.kill import Options
from harness.model.topology import Component, Topology
from stack.runtimes.base import ComponentState

#: How soon after the kill an open connection must break, and how long the runtime may take to notice.
BREAKS_WITHIN_S = 1.0
NOTICED_WITHIN_S = 5.0


class Kill(ComponentFault[Options]):
    """SIGKILL, as the kernel or a crash would end it. The heal only makes sure that it was started again.

    It may be back before anybody looks. So a connection is held open over the kill: that it breaks, and that another
    process answers afterwards, is the proof.
    """

    type = "kill"
    heals_by = "start"
    lasts = proven_again = False
    first: ComponentState | None = None
    broke: bool = False
    boots_at: float | None = None  # until then it is kept down

    @staticmethod
    def counts(options: Any, on: str, topology: Topology) -> dict[str, Any]:
        """The kill itself."""
        return {"steps": ["killing", "killed"]}

    async def measure(self, context: FaultContext) -> None:
        """Its signs of life, and which process it is."""
        await super().measure(context)
        self.first = await self.state(context)

    async def inject(self, context: FaultContext) -> None:
        """Kill it while a connection to it is open, and see that break."""
        if self.options.streams:
            await streams.come(context, self.on, context.topology.gateways, self.options.streams)
        async with _Held(context.topology.component(self.on)) as held:
            tell_step(context, self, "killing")
            await to_the_end(context.runtime.kill, self.on)
            tell_step(context, self, "killed")
            self.broke = await held.breaks()
        if self.options.down_for:
            await to_the_end(context.runtime.stop, self.on, 0.0)
            self.boots_at = time.monotonic() + self.options.down_for

    async def come_back(self, context: FaultContext) -> None:
        """A replica is back with its first token, anything else when it was started again."""
        if self.boots_at is not None:
            await asyncio.sleep(self.boots_at - time.monotonic())
            await to_the_end(context.runtime.start, self.on)
        if context.topology.component(self.on).role == "replica":
            await comeback.watch(context, self)

    async def verify(self, context: FaultContext) -> Proof:
        """Another process, and a connection that broke or a component that is silent."""
        during, (first, now) = await asyncio.gather(self.probe(context), self._another(context))
        connection = "broke" if self.broke else "stayed open"
        process = f"process {first.pid} → {now.pid or 'none'}, restarts {first.restarts} → {now.restarts}"
        seen = f"{process}; an open connection {connection}; then {during.seen}"
        if not _is_another(first, now):
            why = f"the fault had no effect: {self.on} is the same process as before"
            return Proof(False, why, self.seen_before(), seen)
        if not self.broke and (during.works or during.answers):
            why = f"the fault had no effect: nobody saw {self.on} away"
            return Proof(False, why, self.seen_before(), seen)
        return Proof(
            True, f"{self.on} was killed ({process}), an open connection {connection}", self.seen_before(), seen
        )

    async def _another(self, context: FaultContext) -> tuple[ComponentState, ComponentState]:
        """The process before and now; waits some seconds for the runtime to notice."""
        assert self.first is not None, "measure comes first"
        deadline = time.monotonic() + NOTICED_WITHIN_S
        while True:
            now = await self.state(context)
            if _is_another(self.first, now) or time.monotonic() > deadline:
                return self.first, now
            await asyncio.sleep(0.1)


def _is_another(first: ComponentState, now: ComponentState) -> bool:
    return now.incarnation != first.incarnation or now.restarts > first.restarts


class _Held:
    """A TCP connection to a component that is open, and silent, while the block lasts."""

    def __init__(self, component: Component) -> None:
        self._name = component.name
        self._address = component.address, next(iter(component.ports.values()))

    async def __aenter__(self) -> _Held:
        try:
            self._reader, self._writer = await asyncio.open_connection(*self._address)
        except OSError as error:
            raise FaultError(f"{self._name} took no connection just before it was to be killed: {error}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    async def breaks(self) -> bool:
        """Whether it breaks within a second from now."""
        try:
            async with asyncio.timeout(BREAKS_WITHIN_S):
                while await self._reader.read(65536):
                    pass  # what it says is not kept
        except TimeoutError:
            return False
        except OSError:
            pass  # reset: as good as closed
        return True


FAULT = Kill
