"""The gateways: what is asked of one kind of software, whichever it is.

Each module or package in here is one kind and has it as ``KIND``; a gateway's component in the topology names its kind.
Nothing else in ``stack/`` knows a word of that software. The orders that it takes while a drill runs are behind another
port, ``harness/adapters/gateway.py``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from harness.model.alert_rules import GatewayConditions
from harness.model.errors import UsageError
from harness.model.topology import Component, Topology
from stack.keys import Keys


class Access(NamedTuple):
    """What a gateway's access log says of one request of a user, as the exporter counts it. Times in ms."""

    status: int | None  # of the answer; None when the client left before any
    failed: bool  # it ended in 5xx, or the service's side cut it after a good beginning
    asked: bool  # a replica got it
    queue_ms: float | None  # None, here and below, where it never got so far
    total_ms: float | None  # first byte of the request to last byte of the answer


class Kind(Protocol):
    """One kind of gateway software, as a component that is configured, started and watched."""

    #: What the two alert rules that rest on a gateway's own metrics look at.
    conditions: GatewayConditions
    #: What its job in Prometheus' configuration has besides the targets.
    scrape: Mapping[str, Any]

    def files(self, topology: Topology, keys: Keys, gateway: str) -> dict[str, str]:
        """Its configuration, by name. ``@CONFIG@`` stands for the folder in which it finds them (stack/config.py)."""

    def start(self, config: Path) -> tuple[str, list[str]]:
        """The program, a name that stack/tools knows, and its arguments; ``config`` is the folder of its files."""

    def access(self, line: bytes) -> Access | None:
        """A line of its log. None for one that is no record, and for a record of a request that no user felt.

        ValueError for a record that cannot be understood.
        """


def kind_of(gateway: Component) -> Kind:
    """The software of that component. UsageError when it names none that can be started."""
    if gateway.kind not in kinds():
        found = f"the gateway {gateway.name} is of the kind {gateway.kind!r}"
        raise UsageError(f"{found}: expected {' or '.join(kinds())}")
    return kind(gateway.kind)


def kind(name: str) -> Kind:
    """The kind of that name. ModuleNotFoundError when there is none."""
    found: Kind = importlib.import_module(f"{__name__}.{name}").KIND
    return found


def kinds() -> tuple[str, ...]:
    """The kinds of software that there are: what stands in this folder."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__)))


def by_kind(topology: Topology) -> dict[str, list[Component]]:
    """The gateways of each kind, in the order of the topology. UsageError for one of an unknown kind."""
    found: dict[str, list[Component]] = {}
    for gateway in map(topology.component, topology.gateways):
        kind_of(gateway)
        found.setdefault(gateway.kind, []).append(gateway)
    return found
