"""What faults of a replica *at the gateways* share, and operations on one: proof by the gateways' own state and by who
answers requests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from harness.adapters.gateway import Gateway, Server, connect
from harness.faults.base import FaultContext, Healing, Proof, fault_id, nothing_countable, to_the_end
from harness.model.errors import AdapterError, FaultError, StackError
from harness.model.journal import Undo
from harness.model.options.drain import Options
from harness.model.topology import Topology

#: How long one request may take at first, and how many are on their way at once through one gateway.
ANSWER_S = 10.0
AT_ONCE = 10
#: Requests through each gateway that tell whether it uses the replica at all.
GLANCE = 8
#: How long service may take to be back: the replica itself may be starting.
HEALED_WITHIN_S = 120.0
#: A gateway that is being started takes orders within this.
TAKES_ORDERS_WITHIN_S = 5.0


@dataclass(frozen=True)
class Answers:
    """Who answered some requests."""

    sent: int
    by: Mapping[str, int]  # replica → answers

    @property
    def total(self) -> int:
        """How many were answered well."""
        return sum(self.by.values())


OptionsT = TypeVar("OptionsT", bound=Options)


class AtGateways(Generic[OptionsT]):
    """What is done to one replica at some gateways, whoever does it: what it was like before, and that it is again."""

    type: ClassVar[str]
    expected_disruptions: ClassVar[tuple[str, ...]] = ()
    counts = staticmethod(nothing_countable)

    def __init__(self, phase: str, on: str, options: OptionsT) -> None:
        self.id, self.phase, self.on, self.options = fault_id(phase, self.type, on), phase, on, options
        self.before: dict[str, dict[str, Server]] = {}
        self.seen_before = ""

    @staticmethod
    def targets(topology: Topology) -> list[str]:
        """All replicas."""
        return list(topology.replicas)

    def undo(self) -> Undo:
        """State and weight as they were measured, at each gateway."""
        servers = [
            {"gateway": gateway, "replica": self.on, **asdict(found[self.on])} for gateway, found in self.before.items()
        ]
        return Undo(self.id, "restore_servers", {"servers": servers}, self.phase)

    async def measure(self, context: FaultContext) -> None:
        """The gateways' state, and that each of them lets the replica answer."""
        self.before = await self._servers(context)
        for gateway in self.options.at(context.topology):
            answers = await ask(context, [gateway], GLANCE)
            if not answers.by.get(self.on):
                seen = self._describe(self.before, answers)
                raise FaultError(f"{gateway} does not use {self.on} before the fault ({seen}): nothing to compare with")
            self.seen_before = self._describe(self.before, answers)

    async def verify_healed(self, context: FaultContext) -> Proof:
        """Wait until the gateways' word is as before and the replica answers through each; for two minutes at most."""
        done = f"the gateways use {self.on} as before"
        left, back = partial(self.what_is_left, context), partial(self.back, context)
        return await Healing(left, back, done, self.seen_before, HEALED_WITHIN_S, ANSWER_S, every_s=0.5).proof()

    async def what_is_left(self, context: FaultContext) -> str | None:
        """What the gateways' own word is, where that is not as before; None while one of them does not tell."""
        try:
            servers = await self._servers(context)
        except (AdapterError, StackError):  # it is starting, perhaps
            return None
        return "; ".join(
            f"{gateway} has {name} as {servers[gateway][name].state} with {servers[gateway][name].weight} %"
            for gateway, found in self.before.items()
            for name in self.changes()
            if servers[gateway][name] != found[name]
        )

    def changes(self) -> tuple[str, ...]:
        """The replicas that this gives another state or weight."""
        return (self.on,)

    async def back(self, context: FaultContext, patience_s: float) -> tuple[bool, str]:
        """Whether the replica answers through each gateway that is meant, and what was seen."""
        gateways = self.options.at(context.topology)
        answers = [await ask(context, [gateway], GLANCE, patience_s) for gateway in gateways]
        try:
            seen = self._describe(await self._servers(context), *answers)
        except (AdapterError, StackError) as error:
            seen = str(error)
        return all(some.by.get(self.on) for some in answers), seen

    async def _servers(self, context: FaultContext) -> dict[str, dict[str, Server]]:
        gateways = self.options.at(context.topology)
        found = [await asyncio.to_thread(connect(context.runtime, gateway).servers) for gateway in gateways]
        if missing := [g for g, servers in zip(gateways, found, strict=True) if self.on not in servers]:
            raise AdapterError(f"{missing[0]} does not know {self.on}")
        return dict(zip(gateways, found, strict=True))

    def _describe(self, servers: Mapping[str, Mapping[str, Server]], *answers: Answers) -> str:
        words = [f"{gateway}: {found[self.on].state}, {found[self.on].weight} %" for gateway, found in servers.items()]
        mine, total = sum(a.by.get(self.on, 0) for a in answers), sum(a.total for a in answers)
        return "; ".join([*words, f"{self.on} gave {mine} of {total} answers"])


class ServerFault(AtGateways[OptionsT]):
    """A fault of one replica at some gateways. Subclasses give ``apply`` and ``effect``."""

    lasts: ClassVar[bool] = True
    proven_again: ClassVar[bool] = False  # dozens of requests, beside the users'
    silences: ClassVar[bool] = False
    asked: ClassVar[int]  # requests through each gateway that prove the effect

    def apply(self, gateway: Gateway) -> None:
        """Break it at one gateway."""
        raise NotImplementedError

    def effect(self, servers: Mapping[str, Mapping[str, Server]], answers: Answers) -> tuple[bool, str]:
        """Whether the gateways' state and the answers show the effect, and why (not)."""
        raise NotImplementedError

    async def inject(self, context: FaultContext) -> None:
        """Break it at every gateway that is meant."""
        for gateway in self.options.at(context.topology):
            await to_the_end(self.apply, connect(context.runtime, gateway))

    async def verify(self, context: FaultContext) -> Proof:
        """The gateways' own word, and who answers requests through them."""
        answers = await ask(context, self.options.at(context.topology), self.asked)
        servers = await self._servers(context)
        seen = self._describe(servers, answers)
        if answers.total < 0.9 * answers.sent:
            why = f"only {answers.total} of {answers.sent} requests were answered: they tell nothing about {self.on}"
            return Proof(False, why, self.seen_before, seen)
        proven, why = self.effect(servers, answers)
        return Proof(proven, why if proven else f"the fault had no effect: {why}", self.seen_before, seen)

    async def present(self, context: FaultContext) -> bool | None:
        """Whether every gateway that is meant has the replica otherwise than before."""
        try:
            servers = await self._servers(context)
        except (AdapterError, StackError):
            return None
        return all(servers[gateway][self.on] != found[self.on] for gateway, found in self.before.items())


async def ask(context: FaultContext, gateways: Sequence[str], count: int, deadline_s: float = ANSWER_S) -> Answers:
    """Send ``count`` small requests through each gateway, some at once, and see which replica answers."""
    by: dict[str, int] = {}
    for begin in range(0, count, AT_ONCE):
        some = min(AT_ONCE, count - begin)
        for sample in await asyncio.gather(
            *(context.path.through(gateway, deadline_s) for gateway in gateways for _ in range(some))
        ):
            if sample.outcome == "ok" and sample.replica:
                by[sample.replica] = by.get(sample.replica, 0) + 1
    return Answers(count * len(gateways), by)


def give_back(context: FaultContext, name: str, orders: Callable[[Gateway], None]) -> None:
    """Give a gateway its settings back, tried for some seconds; one that does not run has forgotten what it was told.

    AdapterError or StackError when it runs and does not obey.
    """
    gateway, deadline = connect(context.runtime, name), time.monotonic() + TAKES_ORDERS_WITHIN_S
    while True:
        try:
            return orders(gateway)
        except (AdapterError, StackError):
            state = next(state.state for state in context.runtime.states() if state.name == name)
            if state in ("stopped", "failed", "missing"):
                return None
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def _restore_server(context: FaultContext, args: Mapping[str, Any]) -> None:
    """Give a replica its state and weight at a gateway."""

    def orders(gateway: Gateway) -> None:
        gateway.use(args["replica"], Server(args["state"], args["weight"]))

    give_back(context, args["gateway"], orders)


def _restore_servers(context: FaultContext, args: Mapping[str, Any]) -> None:
    """The same at several gateways; each is tried, whatever becomes of the others."""
    problems = []
    for server in args["servers"]:
        try:
            _restore_server(context, server)
        except (AdapterError, StackError) as error:
            problems.append(str(error))
    if problems:
        raise AdapterError("; ".join(problems))


UNDO = {"restore_server": _restore_server, "restore_servers": _restore_servers}
