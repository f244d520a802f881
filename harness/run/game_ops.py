"""What players may do to the stack, by the gateways' port and the runtime, each with its undo in the journal first.

Whatever they have set is given back when the game ends: what each gateway had at the start is what it has then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.adapters.gateway import Gateway, LimitsLongPrompts, Server, State, connect
from harness.faults.base import take_back, to_the_end
from harness.model.errors import AdapterError, StackError, UsageError, did_you_mean
from harness.model.game import OPS
from harness.model.journal import Undo
from harness.run.session import Session

#: Begin of the ids under which players' settings are rolled back.
PREFIX = "ops"
#: A component that is restarted is given so long after SIGTERM.
GRACE_S = 5.0
#: Most long prompts at a time that a replica may be given.
LONG_MAX = 1000


@dataclass(frozen=True)
class Outcome:
    """Whether anything was changed, and what came of it, in words."""

    done: bool
    text: str


class Ops:
    """The commands of one game. ``roll_back`` orders a rollout back that is under way."""

    def __init__(self, session: Session, roll_back: Callable[[], Awaitable[str]]) -> None:
        self._session, self._roll_back = session, roll_back
        self._one_at_a_time = asyncio.Lock()
        self._servers: dict[str, dict[str, Server]] = {}  # of each gateway, before the game
        self._long: dict[str, dict[str, int]] = {}
        self._written: dict[str, Undo] = {}

    async def begin(self) -> None:
        """Remember what the gateways have set. Nothing may be broken yet."""
        for name in self._gateways():
            gateway = self._gateway(name)
            self._servers[name] = await asyncio.to_thread(gateway.servers)
            if isinstance(gateway, LimitsLongPrompts):
                self._long[name] = await asyncio.to_thread(gateway.long_connections)

    async def do(self, command: str, component: str, value: str) -> Outcome:
        """Carry out one command. UsageError, with what is possible, for what is not."""
        commands: Mapping[str, Callable[[str, str], Awaitable[Outcome]]] = {
            "drain": self._drain, "undrain": self._undrain, "weight": self._weight, "restart": self._restart,
            "cap": self._cap, "scale": self._scale, "rollback": self._rollback,
        }  # fmt: skip
        if command not in commands:
            raise UsageError(f"there is no command {command!r}; {did_you_mean(command, OPS) or _one_of(OPS)}")
        try:
            if command == "rollback":  # it takes minutes, in which others may be needed
                return await self._rollback(component, value)
            async with self._one_at_a_time:
                return await commands[command](component, value)
        except (AdapterError, StackError) as error:
            return Outcome(False, f"failed: {error}")

    async def give_back(self) -> None:
        """Everything that players have set is as before the game; to be called when no fault is injected any more.

        It may be called again: what was given back is so then, too.
        """
        async with self._one_at_a_time:
            for undo in self._written.values():
                await to_the_end(take_back, self._session.context, undo)
                self._session.journal.done(undo)

    # ── the commands ──

    async def _drain(self, replica: str, gateway: str) -> Outcome:
        return await self._set_state(replica, gateway, "drain")

    async def _undrain(self, replica: str, gateway: str) -> Outcome:
        return await self._set_state(replica, gateway, "ready")

    async def _set_state(self, replica: str, gateway: str, state: State) -> Outcome:
        self._require_replica(replica)
        at = self._at(gateway)
        await self._keep_servers()
        return await self._each(at, lambda one: one.set_state(replica, state), f"{replica} is set to {state}")

    async def _weight(self, replica: str, value: str) -> Outcome:
        self._require_replica(replica)
        percent = _number(value, 0, 100, "per cent of the usual share of requests")
        await self._keep_servers()
        words = f"{replica} has {percent} % of its usual weight"
        return await self._each(self._gateways(), lambda one: one.set_weight(replica, percent), words)

    async def _cap(self, component: str, value: str) -> Outcome:
        """So many long prompts at a time for each replica of a gateway."""
        able = [one for one in self._gateways() if self._long.get(one)]
        if component not in able:
            raise UsageError(f"cap: found {component!r}, expected a gateway that limits long prompts: {_list(able)}")
        count = _number(value, 1, LONG_MAX, "long prompts at a time for each replica")
        undo = {"gateway": component, "connections": self._long[component]}
        await self._keep(Undo(f"{PREFIX}/long/{component}", "restore_long_connections", undo, PREFIX))

        def order(gateway: Gateway) -> None:
            assert isinstance(gateway, LimitsLongPrompts)
            for replica in self._long[component]:
                gateway.set_long_connections(replica, count)

        return await self._each([component], order, f"each replica is given {count} long prompts at a time")

    async def _restart(self, component: str, value: str) -> Outcome:
        """Ended and started; what it had been told by hand is forgotten, as after any restart."""
        _require_nothing("restart", value)
        known = [*self._gateways(), *self._session.context.topology.replicas]
        if component not in known:
            raise UsageError(f"restart: found {component!r}, expected a gateway or a replica: {_list(known)}")
        undo = Undo(f"{PREFIX}/start/{component}", "start", {"component": component}, PREFIX)
        await to_the_end(self._session.journal.will_need, undo)
        runtime = self._session.context.runtime
        await to_the_end(runtime.stop, component, GRACE_S)
        await to_the_end(runtime.start, component)
        self._session.journal.done(undo)
        return Outcome(True, f"{component} was ended and is starting")

    async def _rollback(self, component: str, value: str) -> Outcome:
        """Whatever replica is named: a rollout is ordered back as a whole."""
        _require_nothing("rollback", value)
        said = await self._roll_back()
        return Outcome(said.startswith("rolled back"), said)

    async def _scale(self, component: str, value: str) -> Outcome:
        replicas = self._session.context.topology.replicas
        raise UsageError(
            f"scale: this stack has {len(replicas)} replicas ({_list(replicas)}) and room for no other; expected "
            f"{_one_of([one for one in OPS if one != 'scale'])}"
        )

    # ── how ──

    async def _each(self, gateways: Sequence[str], order: Callable[[Gateway], None], words: str) -> Outcome:
        """Give an order to each of them; one that does not obey keeps no other from being told."""
        obeyed, problems = [], []
        for name in gateways:
            try:
                await to_the_end(order, self._gateway(name))
                obeyed.append(name)
            except (AdapterError, StackError) as error:
                problems.append(f"{name} did not obey: {error}")
        said = [f"{words} at {_list(obeyed)}"] if obeyed else []
        return Outcome(bool(obeyed), "; ".join([*said, *problems]))

    async def _keep_servers(self) -> None:
        servers = [
            {"gateway": gateway, "replica": replica, **asdict(one)}
            for gateway, found in self._servers.items()
            for replica, one in found.items()
        ]
        await self._keep(Undo(f"{PREFIX}/servers", "restore_servers", {"servers": servers}, PREFIX))

    async def _keep(self, undo: Undo) -> None:
        """Into the journal, once: what was before the game does not change."""
        if undo.id not in self._written:
            await to_the_end(self._session.journal.will_need, undo)
            self._written[undo.id] = undo

    def _require_replica(self, name: str) -> None:
        replicas = self._session.context.topology.replicas
        if name not in replicas:
            raise UsageError(f"found {name!r}, expected a replica: {_list(replicas)}")

    def _at(self, gateway: str) -> Sequence[str]:
        """The gateways that are meant: all, unless one is named."""
        known = self._gateways()
        if gateway and gateway not in known:
            raise UsageError(f"found {gateway!r}, expected nothing, which means all gateways, or one: {_list(known)}")
        return [gateway] if gateway else known

    def _gateways(self) -> Sequence[str]:
        return self._session.context.topology.gateways

    def _gateway(self, name: str) -> Gateway:
        return connect(self._session.context.runtime, name)


def _number(value: str, least: int, most: int, of: str) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > 9 or not least <= int(value) <= most:
        raise UsageError(f"found {value!r}, expected a whole number from {least} to {most}: {of}")
    return int(value)


def _require_nothing(command: str, value: str) -> None:
    if value:
        raise UsageError(f"{command}: found {value!r}, expected nothing behind the component")


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _one_of(names: Sequence[str]) -> str:
    return f"expected one of {', '.join(names)}"


def words(command: str, component: str, value: str) -> str:
    """A command as it was typed."""
    return " ".join(part for part in (command, component, value) if part)


def as_event(who: str, command: str, component: str, value: str, **more: Any) -> dict[str, Any]:
    """What the records keep of a command."""
    return {"verb": command, "who": who, "component": component, "value": value, **more}
