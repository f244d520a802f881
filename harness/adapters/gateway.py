"""The port of the gateways: what is asked and ordered of one, whatever software it is.

Each file in ``gateways/`` is one kind of software and has it as ``KIND``; a gateway's component in the topology names
its kind. Nothing else in the harness knows a word of that software.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from harness.model.errors import UsageError
from harness.model.topology import Component, Topology

#: ``drain``: running requests end, no new ones; ``maint``: not even those; ``ready``: as configured. Undo records and
#: ``status --json`` hold these words.
State = Literal["ready", "drain", "maint"]


@dataclass(frozen=True)
class Server:
    """How a gateway uses one replica. ``weight`` in per cent of the configured one."""

    state: State
    weight: int


class Gateway(Protocol):
    """One gateway. Every call blocks, and raises AdapterError when the gateway refuses or does not answer.

    Orders are read back: what returns is in force.
    """

    gateway: str  # its name in the topology

    def servers(self) -> dict[str, Server]:
        """The replicas that clients' requests go to, whatever the health checks think of them."""

    def healthy(self) -> dict[str, bool]:
        """Whether each replica is well by the gateway's own checks, drained or not."""

    def sessions(self) -> dict[str, int]:
        """How many requests of clients each replica has from this gateway now."""

    def set_state(self, replica: str, state: State) -> None:
        """Use it so from now on."""

    def set_weight(self, replica: str, percent: int) -> None:
        """0 takes no new requests, 100 is what is configured."""

    def use(self, replica: str, wanted: Server) -> None:
        """Weight and state, in this order, so that no request comes in between."""


@runtime_checkable
class LimitsLongPrompts(Protocol):
    """A capability: a gateway that gives each replica only so many long prompts at a time."""

    def long_connections(self) -> dict[str, int]:
        """How many long prompts each replica is given at a time; empty where they are not told apart."""

    def set_long_connections(self, replica: str, connections: int) -> None:
        """So many long prompts at a time from now on."""


#: The metrics of a replica at a gateway; the last is the gateway's own, everybody who waits. What it does not tell is
#: left out.
METRICS = (
    "server_up", "server_weight", "server_sessions_total", "server_retries_total", "server_redispatches_total",
    "server_queue_current", "server_sessions_current", "queue_current",
)  # fmt: skip


class Measured(NamedTuple):
    """One value of a gateway's statistics: of a replica (``server``), or with an empty one of the gateway itself."""

    metric: str
    server: str
    value: float


class AccessRecord(NamedTuple):
    """What a gateway's access log says of one attempt. Times in ms, ``t_ms`` by the wall clock."""

    request_id: str
    t_ms: float
    queue_ms: float
    replica: str  # "" when the gateway tried none
    retries: int


class Commands(Protocol):
    """Whoever can send a command to a gateway's control interface: a runtime."""

    def gateway_command(self, gateway: str, command: str) -> str:
        """The answer, stripped."""


class Runs(Commands, Protocol):
    """A runtime, as far as a gateway needs it."""

    topology: Topology


class Kind(Protocol):
    """One kind of gateway software: how it is reached and what its words mean."""

    made: type  # the class of what ``connect`` returns: its capabilities are known before anything runs
    statistics_path: str  # on the component's port ``metrics``

    def connect(self, runtime: Commands, gateway: str) -> Gateway:
        """The gateway of that name. What it can do besides are capabilities of what is returned."""

    def statistics(self, text: str) -> Iterable[Measured]:
        """What is on its page, by the names in ``METRICS``. ValueError or KeyError for what is no such page."""

    def access_record(self, line: str) -> AccessRecord | None:
        """The record in a line of its log; None for any other line."""


def connect(runtime: Runs, name: str) -> Gateway:
    """The gateway called ``name`` of the runtime's stack. UsageError for one of an unknown kind."""
    return kind_of(runtime.topology.component(name)).connect(runtime, name)


def can(gateway: Component, capability: type) -> bool:
    """Whether that gateway has the capability, one of the protocols above."""
    return issubclass(kind_of(gateway).made, capability)


def kind_of(gateway: Component) -> Kind:
    """The software of that component. UsageError when it names none that Drillyard knows."""
    if gateway.kind not in kinds():
        found = f"the gateway {gateway.name} is of the kind {gateway.kind!r}"
        raise UsageError(f"{found}: expected one of {', '.join(kinds())}")
    return _kind(gateway.kind)


def load() -> None:
    """Import every kind now: who heals a checkout that was moved away finds none of them later."""
    for name in kinds():
        _kind(name)


def _kind(name: str) -> Kind:
    kind: Kind = importlib.import_module(f"{_FOLDER}.{name}").KIND
    return kind


@cache
def kinds() -> tuple[str, ...]:
    """The kinds of software that there are adapters for: the modules in ``gateways/``."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(importlib.import_module(_FOLDER).__path__)))


_FOLDER = "harness.adapters.gateways"
