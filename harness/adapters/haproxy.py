"""HAProxy's runtime API of one gateway: which state and weight its replicas have, read back after every change."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Literal, Protocol

from harness.model.errors import AdapterError

State = Literal["ready", "drain", "maint"]

BACKEND = "replicas"
#: The same replicas for long prompts, in the state that they have in the other; a gateway may have no such backend.
LONG = "long"
_SHOW_SERVERS = f"show servers state {BACKEND}"
#: Bits of HAProxy's srv_admin_state that an operator sets (2.6: FMAINT, FDRAIN).
_MAINTENANCE, _DRAIN = 0x01, 0x08
#: HAProxy's type of a row in its statistics that is a server.
_SERVER = "2"


class Commands(Protocol):
    """Whoever can send a command to a gateway's admin socket: a runtime."""

    def gateway_command(self, gateway: str, command: str) -> str:
        """The answer, stripped."""


@dataclass(frozen=True)
class Server:
    """How a gateway uses one replica. ``weight`` in per cent of the configured one."""

    state: State
    weight: int


class Haproxy:
    """One gateway. Every call raises AdapterError when it refuses or does not answer."""

    def __init__(self, runtime: Commands, gateway: str) -> None:
        self._runtime, self.gateway = runtime, gateway

    def servers(self) -> dict[str, Server]:
        """The replicas that clients' requests go to, whatever the health checks think of them."""
        return self._servers(self._runtime.gateway_command(self.gateway, _SHOW_SERVERS))

    def _servers(self, answer: str) -> dict[str, Server]:
        version, _, table = answer.partition("\n# ")
        if version != "1" or not table:
            raise AdapterError(f"{self.gateway} does not tell its servers: it says {answer[:200]!r}")
        columns, *lines = (line.split() for line in table.splitlines())
        rows = [dict(zip(columns, line, strict=False)) for line in lines]
        try:
            return {row["srv_name"]: _as_server(row) for row in rows}
        except (KeyError, ValueError, ZeroDivisionError) as error:
            raise AdapterError(f"{self.gateway} tells its servers in other words than expected: {error!r}") from error

    def sessions(self) -> dict[str, int]:
        """How many requests of clients each replica has from this gateway now."""
        long = self._statistics(LONG)
        return {
            replica: int(row["scur"]) + int(long[replica]["scur"] if replica in long else 0)
            for replica, row in self._statistics(BACKEND).items()
        }

    def healthy(self) -> dict[str, bool]:
        """Whether each replica is well by the gateway's own checks, drained or not."""
        return {
            replica: not row["status"].startswith(("DOWN", "MAINT"))
            for replica, row in self._statistics(BACKEND).items()
        }

    def _statistics(self, backend: str) -> dict[str, dict[str, str]]:
        answer = self._runtime.gateway_command(self.gateway, "show stat")
        rows = list(csv.DictReader(io.StringIO(answer.removeprefix("# "))))
        try:
            found = {row["svname"]: row for row in rows if row["pxname"] == backend and row["type"] == _SERVER}
            for row in found.values():
                int(row["scur"]), int(row["slim"] or 0), row["status"]
        except (KeyError, ValueError) as error:
            why = f"{self.gateway} tells its statistics in other words than expected: {error!r}"
            raise AdapterError(why) from error
        return found

    def set_state(self, replica: str, state: State) -> None:
        """``drain``: running requests end, no new ones; ``maint``: not even those; ``ready``: as configured."""
        found = self._ordered(_state_order(replica, state))[replica].state
        if found != state:
            raise AdapterError(f"{self.gateway} was told to set {replica} to {state}, but it is {found}")

    def set_weight(self, replica: str, percent: int) -> None:
        """0 takes no new requests, 100 is what is configured."""
        found = self._ordered(*self._weight_orders(replica, percent))[replica].weight
        if found != percent:
            raise AdapterError(f"{self.gateway} was told to set {replica}'s weight to {percent} %, but it is {found} %")

    def use(self, replica: str, wanted: Server) -> None:
        """Weight and state, in this order, so that no request comes in between."""
        orders = (*self._weight_orders(replica, wanted.weight), _state_order(replica, wanted.state))
        found = self._ordered(*orders)[replica]
        if found != wanted:
            raise AdapterError(f"{self.gateway} was told to set {replica} to {wanted}, but it is {found}")

    def long_connections(self) -> dict[str, int]:
        """How many long prompts each replica is given at a time; empty where they are not told apart."""
        return {replica: int(row["slim"] or 0) for replica, row in self._statistics(LONG).items()}

    def set_long_connections(self, replica: str, connections: int) -> None:
        """So many long prompts at a time from now on."""
        order = f"set maxconn server {LONG}/{replica} {connections}"
        if refusal := self._runtime.gateway_command(self.gateway, order):  # it obeys without a word
            raise AdapterError(f"{self.gateway} refused {order!r}: {refusal}")
        if (found := self.long_connections().get(replica)) != connections:
            raise AdapterError(
                f"{self.gateway} was told to give {replica} {connections} long prompts at a time, but it gives {found}"
            )

    def _weight_orders(self, replica: str, percent: int) -> list[str]:
        known = self._runtime.gateway_command(self.gateway, "show backend").split()
        backends = [BACKEND, LONG] if LONG in known else [BACKEND]
        return [f"set weight {backend}/{replica} {percent}%" for backend in backends]

    def _ordered(self, *orders: str) -> dict[str, Server]:
        """What the servers are after these orders. One call: it may take its time, and users ask meanwhile."""
        answer = self._runtime.gateway_command(self.gateway, "; ".join((*orders, _SHOW_SERVERS)))
        said, table, rest = answer.partition("1\n# ")
        if refusal := said.strip():  # it obeys without a word
            raise AdapterError(f"{self.gateway} refused {'; '.join(orders)!r}: {refusal}")
        return self._servers(table + rest)


def _state_order(replica: str, state: State) -> str:
    return f"set server {BACKEND}/{replica} state {state}"


def _as_server(row: dict[str, str]) -> Server:
    admin = int(row["srv_admin_state"])
    state: State = "maint" if admin & _MAINTENANCE else "drain" if admin & _DRAIN else "ready"
    return Server(state, round(100 * int(row["srv_uweight"]) / int(row["srv_iweight"])))
