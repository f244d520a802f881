"""A replica is restarted as one should: drained at the gateways, ended when its streams are, started again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from harness.adapters.gateway import connect
from harness.faults import comeback, streams
from harness.faults.base import FaultContext, Proof, take_back, tell_step, to_the_end
from harness.faults.server import AtGateways
from harness.model.errors import AdapterError, StackError
from harness.model.journal import Undo
from harness.model.options.restart import Options
from harness.model.topology import Topology
from harness.probes.health import probe
from stack.runtimes.base import ComponentState


class Restart(AtGateways[Options]):
    """Each step is recorded. It ends with the replica's first token; the heal gives it back to the gateways."""

    type = "restart"
    expected_disruptions = ("gaps", "restarts")

    def __init__(self, phase: str, on: str, options: Any) -> None:
        super().__init__(phase, on, options)
        self.first: ComponentState | None = None
        self.left = 0  # streams that ran when it was ended

    @staticmethod
    def counts(options: Any, on: str, topology: Topology) -> dict[str, Any]:
        """The steps of a restart in order; one under its streams is not drained."""
        return {"steps": [*(["drained"] if options.drain else []), "stopping", "stopped", "started"]}

    def undo(self) -> Undo:
        """Started again, and state and weight as they were measured, at each gateway."""
        return Undo(self.id, "bring_back", {"component": self.on, **super().undo().args}, self.phase)

    async def measure(self, context: FaultContext) -> None:
        """As for anything at the gateways, and which process it is."""
        await super().measure(context)
        self.first = await self._state(context)

    async def begin(self, context: FaultContext) -> None:
        """Drain, wait for the streams, end, start."""
        gateways = self.options.at(context.topology)
        await streams.come(context, self.on, gateways, self.options.streams)
        if self.options.drain:
            for gateway in gateways:
                await to_the_end(connect(context.runtime, gateway).set_state, self.on, "drain")
            tell_step(context, self, "drained")
            self.left = await streams.end(context, self.on, gateways, self.options.drain_within)
        tell_step(context, self, "stopping", streams=self.left)
        await to_the_end(context.runtime.stop, self.on, self.options.grace)
        tell_step(context, self, "stopped")
        await to_the_end(context.runtime.start, self.on)
        tell_step(context, self, "started")

    async def verify(self, context: FaultContext) -> Proof:
        """Another process; and drained by the gateways' own word, where that was asked for."""
        first, now, servers = self._first(), await self._state(context), await self._servers(context)
        seen = f"process {first.pid} → {now.pid or 'none'}; {self.left} streams ran when it was ended"
        if now.incarnation == first.incarnation:
            why = f"the fault had no effect: {self.on} is the same process as before"
            return Proof(False, why, self.seen_before, seen)
        using = [name for name, found in servers.items() if found[self.on].state != "drain"]
        if self.options.drain and using:
            return Proof(False, f"{', '.join(using)} did not drain {self.on}", self.seen_before, seen)
        return Proof(True, f"{self.on} was ended and started again ({seen})", self.seen_before, seen)

    async def carry_out(self, context: FaultContext) -> None:
        """Until it has given its first token."""
        await comeback.watch(context, self)

    async def what_is_left(self, context: FaultContext) -> str | None:
        """It is stopped, by the runtime's word; or what the gateways still have otherwise than before."""
        try:
            state = (await self._state(context)).state
        except (AdapterError, StackError):
            return None
        return f"{self.on} is stopped" if state == "stopped" else await super().what_is_left(context)

    async def back(self, context: FaultContext, patience_s: float) -> tuple[bool, str]:
        """It generates, and answers through each gateway."""
        used, seen = await super().back(context, patience_s)
        health = await probe(context.path, context.topology.component(self.on), patience_s)
        return used and health.works, f"{seen}; {health.seen}"

    def _first(self) -> ComponentState:
        assert self.first is not None, "measure comes first"
        return self.first

    async def _state(self, context: FaultContext) -> ComponentState:
        states = await asyncio.to_thread(context.runtime.states)
        return next(state for state in states if state.name == self.on)


def _bring_back(context: FaultContext, args: Mapping[str, Any]) -> None:
    """Start the replica, whatever became of it, and give it its state and weight at the gateways."""
    context.runtime.start(args["component"])
    take_back(context, Undo(args["component"], "restore_servers", args))


UNDO = {"bring_back": _bring_back}
OPERATION = Restart
