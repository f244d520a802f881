"""A game that is played without a stack: its faults, gateways and runtime do as they are told and note it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.adapters.gateway import Server
from harness.adapters.load import Window
from harness.faults.base import Proof
from harness.model.errors import AdapterError
from harness.model.game import Game, Inject, When
from harness.model.journal import Undo
from harness.model.scenario import FaultSpec
from harness.model.sealed import Drawn, Sealed
from harness.model.topology import Topology
from harness.plan import games
from harness.run import game, game_clock, game_injects, game_ops, injector
from harness.run.game import Order, Played
from harness.run.game_injects import Course
from harness.run.session import Session
from stack.stacks.vllm_haproxy import STACK
from tests import sessions

TOPOLOGY = Topology(STACK, instance=17)
#: Only a hang reaches it.
WITHIN_S = 30.0
#: Long, in a game of a second.
LONG_S = 600.0
ACTOR = "Ann"


class Fault:
    """Stands for a fault that is there as long as it was told to be."""

    on, type, phase = "replica-1", "stop", "one"
    options = None
    expected_disruptions: tuple[str, ...] = ()
    lasts = proven_again = silences = False

    def __init__(self, name: str) -> None:
        self.id, self.done, self.proven = f"{name}/stop/replica-1", list[str](), True

    def undo(self) -> Undo:
        """What rolls it back."""
        return Undo(self.id, "heal", {"component": self.on}, self.phase)

    async def measure(self, context: object) -> None:
        """It is well."""
        self.done.append("measure")

    async def inject(self, context: object) -> None:
        """It is there."""
        self.done.append("inject")

    async def verify(self, context: object) -> Proof:
        """As it was told."""
        return Proof(self.proven, "it is silent", "", "")

    async def verify_healed(self, context: object) -> Proof:
        """It is."""
        return Proof(True, "it works again", "", "")


class Gateway:
    """Stands for a gateway that obeys, unless it is ``dead``."""

    def __init__(self, name: str) -> None:
        self.gateway, self.dead = name, False
        self.known = {replica: Server("ready", 100) for replica in TOPOLOGY.replicas}
        self.long = dict.fromkeys(TOPOLOGY.replicas, 2)

    def servers(self) -> dict[str, Server]:
        """As they were set."""
        return dict(self.known)

    def healthy(self) -> dict[str, bool]:
        """All are."""
        return dict.fromkeys(self.known, True)

    def sessions(self) -> dict[str, int]:
        """None."""
        return dict.fromkeys(self.known, 0)

    def set_state(self, replica: str, state: Any) -> None:
        """So from now on."""
        self.use(replica, Server(state, self.known[replica].weight))

    def set_weight(self, replica: str, percent: int) -> None:
        """So from now on."""
        self.use(replica, Server(self.known[replica].state, percent))

    def use(self, replica: str, wanted: Server) -> None:
        """So from now on."""
        if self.dead:
            raise AdapterError(f"{self.gateway} does not answer")
        self.known[replica] = wanted

    def long_connections(self) -> dict[str, int]:
        """As they were set."""
        return dict(self.long)

    def set_long_connections(self, replica: str, connections: int) -> None:
        """So many from now on."""
        self.long[replica] = connections


@dataclass
class Runtime:
    """Stands for a runtime; it notes what it was told."""

    topology: Topology = TOPOLOGY
    name: str = "process"
    told: list[tuple[str, str]] = field(default_factory=list)

    def stop(self, name: str, grace_s: float) -> None:
        """It is stopped."""
        self.told.append(("stop", name))

    def start(self, name: str) -> None:
        """It runs."""
        self.told.append(("start", name))

    def states(self) -> tuple[Any, ...]:
        """All run."""
        return tuple(SimpleNamespace(name=one.name, state="running", pid=1) for one in self.topology.components)


@dataclass
class Table:
    """One game with everything around it."""

    played: Played
    session: Session
    gateways: dict[str, Gateway]
    runtime: Runtime
    made: list[Fault]
    undone: list[str]

    @property
    def log(self) -> sessions.Log:
        """Of the session."""
        return sessions.log(self.session)

    def told(self, *kinds: str) -> list[str]:
        """The kinds of events so far; where some are named, only those."""
        return [kind for kind in self.log.kinds if not kinds or kind in kinds]

    @property
    def courses(self) -> list[Course]:
        """The injects."""
        return self.played.injects.courses

    def users(self, well: bool) -> None:
        """What they have seen in the last second: all good, or mostly failures."""
        now_s = self.session.now_s()
        ok = 50 if well else 10
        outcomes = {"ok": ok, **({} if well else {"http_5xx": 40})}
        windows = [
            Window(now_s - ago_s, 50, 3, 50, ok, 50 - ok, 150.0, 1.0, outcomes, ok, {}, {"100": ok}, {"150": ok})
            for ago_s in (0.9, 0.4)
        ]
        self.played.injects.slos.look(windows, now_s)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for it, as long as only a hang takes."""
        async with asyncio.timeout(WITHIN_S):
            while not condition():  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.002)

    def begin(self) -> asyncio.Task[None]:
        """The clock runs, users are well, and injects come."""
        self.played.clock.begin()
        self.users(well=True)
        return asyncio.create_task(self.played.injects.play())


def game_of(*injects: Inject, lasts_s: float = LONG_S, stays_well_s: float = 0.1) -> Game:
    """A shipped game with these injects, in seconds instead of minutes."""
    found = games.load(games.find("first-watch"))
    slos = tuple(slo.model_copy(update={"hold": 1.0}) for slo in found.slos)
    return found.model_copy(
        update={"injects": injects, "lasts": lasts_s, "stays_well_for": stays_well_s, "slos": slos, "stop_when": ()}
    )


def inject_of(name: str = "one", when: dict[str, str] | None = None, **more: Any) -> Inject:
    """The shipped inject, at once and for 50 ms, unless something else is said."""
    found = games.load(games.find("first-watch")).injects[0]
    given = {"lasts_at_most": 0.05, "replay": None, "stop_when": (), **more}
    return found.model_copy(update={"id": name, "when": When.model_validate(when or {"at": "0s"}), **given})


def drawn_of(inject: Inject, component: str = "replica-1", variant: int = 0) -> Drawn:
    """What was drawn of it; its decoy comes much later."""
    mechanism = inject.variants[variant].mechanism
    faults = (FaultSpec(type="stop", on=component),)
    return Drawn(inject.id, variant, mechanism, faults, (component,), 0.0, 0, LONG_S)


def sealed_of(of: Game, component: str = "replica-1", variant: int = 0) -> Sealed:
    """The draw of all its injects."""
    return Sealed(of.name, 7, tuple(drawn_of(inject, component, variant) for inject in of.injects))


def order_of(of: Game, sealed: Sealed | None = None, **more: Any) -> Order:
    """To play it."""
    given: dict[str, Any] = {"runtime": Runtime(), "lock": -1, "progress": sessions.Screen(), "command": "play", **more}
    return Order(of, sealed or sealed_of(of), "salt", **given)


def table(folder: Path, of: Game, monkeypatch: pytest.MonkeyPatch, sealed: Sealed | None = None, **more: Any) -> Table:
    """The game on a session that has begun, to be made in a running loop. Looks are taken 500 times a second."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    gateways = {name: Gateway(name) for name in TOPOLOGY.gateways}
    made: list[Fault] = []
    undone: list[str] = []

    def fault(drawn: Drawn, name: str) -> list[Any]:
        made.append(Fault(name))
        return [made[-1]]

    for module in (game_clock, game_injects, game):
        monkeypatch.setattr(module, "LOOK_EVERY_S", 0.002)
    monkeypatch.setattr(game_injects.Injects, "_made", staticmethod(fault))
    monkeypatch.setattr(injector, "take_back", lambda context, undo: undone.append(undo.id))
    monkeypatch.setattr(game_ops, "connect", lambda runtime, name: gateways[name])
    monkeypatch.setattr("harness.run.game_board.connect", lambda runtime, name: gateways[name])
    monkeypatch.setattr(game_ops, "take_back", lambda context, undo: undone.append(undo.id))
    order = order_of(of, sealed, **more)
    log = sessions.Log(lambda: loop.time() - began)
    session = sessions.session(folder, log=log, runtime=order.runtime)
    session._context = SimpleNamespace(topology=TOPOLOGY, runtime=order.runtime)  # type: ignore[assignment]
    runtime: Any = order.runtime
    return Table(Played(session, order), session, gateways, runtime, made, undone)
