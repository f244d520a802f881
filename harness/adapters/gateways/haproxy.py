"""HAProxy: its runtime API (orders are read back after every change), its statistics page, its access log."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

from harness.adapters.gateway import AccessRecord, Commands, Measured, Server, State
from harness.model.errors import AdapterError
from stack.gateway.haproxy.access import NO_SERVER

BACKEND = "replicas"
#: The same replicas for long prompts, in the state that they have in the other; a gateway may have no such backend.
LONG = "long"
_SHOW_SERVERS = f"show servers state {BACKEND}"
#: Bits of HAProxy's srv_admin_state that an operator sets (2.6: FMAINT, FDRAIN).
_MAINTENANCE, _DRAIN = 0x01, 0x08
#: HAProxy's type of a row in its statistics that is a server.
_SERVER = "2"
#: HAProxy's column → ours (per server), for what adds up.
_COLUMNS = {
    "stot": "server_sessions_total",
    "wretr": "server_retries_total",
    "wredis": "server_redispatches_total",
    "qcur": "server_queue_current",
    "scur": "server_sessions_current",
}


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


class _Kind:
    """HAProxy, for the port."""

    made: type = Haproxy
    statistics_path = "/stats;csv"

    def connect(self, runtime: Commands, gateway: str) -> Haproxy:
        """Over its admin socket."""
        return Haproxy(runtime, gateway)

    def statistics(self, text: str) -> Iterator[Measured]:
        """Of the servers of the backends that users' requests go to. Pinned backends (``pin-…``) are the harness' own
        and left out, and so are the links behind all: they would count every upstream request twice, and health checks
        too.

        A server that stands in several serving backends is up only when it is up in all of them, and weighs what it
        weighs most in one; all else adds up. Who waits for any server of a backend is in that backend's queue, not in a
        server's.
        """
        up, weights, totals = dict[str, float](), dict[str, float](), dict[tuple[str, str], float]()
        queued = 0.0
        rows_of_all = csv.reader(io.StringIO(text.removeprefix("# ")))
        names = next(rows_of_all, [])
        proxies, servers = names.index("pxname"), names.index("svname")
        for fields in rows_of_all:  # there are a hundred columns, and most rows are nobody's here
            if not fields or fields[proxies] not in (BACKEND, LONG):
                continue
            server = fields[servers]
            line = dict(zip(names, fields, strict=True))
            queued += float(line["qcur"] or 0)
            if server == "BACKEND":
                continue
            alive = 1.0 if line["status"].startswith(("UP", "no check")) else 0.0
            up[server] = min(up.get(server, 1.0), alive)
            weights[server] = max(weights.get(server, 0.0), float(line["weight"] or 0))
            for column, metric in _COLUMNS.items():
                if line.get(column):
                    totals[server, metric] = totals.get((server, metric), 0.0) + float(line[column])
        yield from (Measured("server_up", server, value) for server, value in up.items())
        yield from (Measured("server_weight", server, value) for server, value in weights.items())
        yield from (Measured(metric, server, value) for (server, metric), value in totals.items())
        yield Measured("queue_current", "", queued)

    def access_record(self, line: str) -> AccessRecord | None:
        """Each request's line is one JSON object, behind whatever the log's transport puts there."""
        start = line.find("{")
        if start < 0:
            return None
        try:
            data = json.loads(line[start:])
            request_id, replica = str(data["request_id"]), str(data["replica"])
            (request_id + replica).encode()  # ValueError for half a surrogate pair: no id of a request of ours
            return AccessRecord(
                request_id,
                float(data["t_ms"]),
                max(float(data["queue_ms"]), 0.0),
                "" if replica == NO_SERVER else replica,
                int(str(data["retries"]).lstrip("+")),  # «+2»: the last one went to another replica
            )
        except (json.JSONDecodeError, KeyError, TypeError, ValueError):
            return None


KIND = _Kind()
