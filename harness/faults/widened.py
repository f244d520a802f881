"""A gateway no longer holds long prompts back: it gives each replica many of them at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from harness.adapters.gateway import Gateway, LimitsLongPrompts, can, connect
from harness.faults.base import FaultContext, Healing, Proof, fault_id, nothing_countable, read_back, to_the_end
from harness.faults.server import give_back
from harness.model.errors import AdapterError, FaultError, StackError
from harness.model.journal import Undo
from harness.model.options.widened import Options
from harness.model.topology import Topology

#: How long the gateway may take to tell: it may be starting.
HEALED_WITHIN_S = 10.0


class Widened:
    """An order to the gateway, as somebody in a hurry gives it. What it leads to is for another fault."""

    type = "widened"
    expected_disruptions: ClassVar[tuple[str, ...]] = ()
    lasts: ClassVar[bool] = True
    proven_again: ClassVar[bool] = True
    silences: ClassVar[bool] = False
    counts = staticmethod(nothing_countable)

    def __init__(self, phase: str, on: str, options: Any) -> None:
        self.id, self.phase, self.on = fault_id(phase, self.type, on), phase, on
        self.options: Options = options
        self.before: dict[str, int] = {}

    @staticmethod
    def targets(topology: Topology) -> list[str]:
        """The gateways that limit long prompts; nothing of somebody else's."""
        return [name for name in topology.gateways if can(topology.component(name), LimitsLongPrompts)]

    def undo(self) -> Undo:
        """As many as it was before."""
        return Undo(self.id, "restore_long_connections", {"gateway": self.on, "connections": self.before}, self.phase)

    async def measure(self, context: FaultContext) -> None:
        """How many it gives them now."""
        self.before = await asyncio.to_thread(self._gateway(context).long_connections)
        if not self.before:
            raise FaultError(f"{self.on} does not tell long prompts from others: there is nothing to widen")

    async def inject(self, context: FaultContext) -> None:
        """Allow more of them."""
        for replica in self.before:
            await to_the_end(self._gateway(context).set_long_connections, replica, self.options.connections)

    async def verify(self, context: FaultContext) -> Proof:
        """By the gateway's own word."""
        now = await asyncio.to_thread(self._gateway(context).long_connections)
        before, seen = _words(self.before), _words(now)
        if any(now.get(replica, 0) <= count for replica, count in self.before.items()):
            return Proof(False, f"the fault had no effect: {self.on} allows no more than before", before, seen)
        return Proof(True, f"{self.on} gives each replica {self.options.connections} long prompts", before, seen)

    async def present(self, context: FaultContext) -> bool | None:
        """Whether it allows each replica more than before."""
        try:
            now = await asyncio.to_thread(self._gateway(context).long_connections)
        except (AdapterError, StackError):
            return None
        return all(now.get(replica, 0) > count for replica, count in self.before.items())

    async def verify_healed(self, context: FaultContext) -> Proof:
        """As many as before, by the gateway's own word; one that is starting is asked again."""

        async def back(_: float) -> tuple[bool, str]:
            return True, f"long prompts at a time as before: {_words(self.before)}"

        async def left() -> str | None:
            return await read_back(partial(self._left, context))

        done = f"{self.on} gives each replica as many long prompts as before"
        return await Healing(left, back, done, _words(self.before), HEALED_WITHIN_S, HEALED_WITHIN_S).proof()

    def _left(self, context: FaultContext) -> str:
        now = self._gateway(context).long_connections()
        return "" if now == self.before else f"{self.on} gives long prompts at a time: {_words(now)}"

    def _gateway(self, context: FaultContext) -> LimitsLongPrompts:
        return _limiting(connect(context.runtime, self.on))


def _limiting(gateway: Gateway) -> LimitsLongPrompts:
    if not isinstance(gateway, LimitsLongPrompts):
        raise FaultError(f"{gateway.gateway} does not limit long prompts: there is nothing to widen")
    return gateway


def _words(connections: Mapping[str, int]) -> str:
    return ", ".join(f"{replica}: {count}" for replica, count in connections.items())


def _restore_long_connections(context: FaultContext, args: Mapping[str, Any]) -> None:
    """Give the gateway its numbers back."""

    def orders(found: Gateway) -> None:
        gateway = _limiting(found)
        for replica, count in args["connections"].items():
            gateway.set_long_connections(replica, count)

    give_back(context, args["gateway"], orders)


UNDO = {"restore_long_connections": _restore_long_connections}
FAULT = Widened
