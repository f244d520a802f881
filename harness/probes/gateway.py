"""What each gateway thinks: which replicas are up, sessions, retries, redispatches, queue. From its CSV statistics.

The tightest limits on these series: some seconds from a kill, a hang or a rollout's decision until no gateway uses that
replica any more, made of the gateways' own check intervals.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from harness.adapters.haproxy import BACKEND, LONG
from harness.model.topology import Component
from harness.probes.base import ProbeSet, Row
from harness.probes.page import NoAnswer, Page

#: HAProxy's column → ours (per server), for what adds up.
COLUMNS = {
    "stot": "server_sessions_total",
    "wretr": "server_retries_total",
    "wredis": "server_redispatches_total",
    "qcur": "server_queue_current",
    "scur": "server_sessions_current",
}


class GatewayProbe:
    """One gateway."""

    period_s = 0.25

    def __init__(self, gateway: Component) -> None:
        self.name, self._gateway = f"gateway {gateway.name}", gateway.name
        self._page = Page(gateway.url("metrics", "/stats;csv"))

    async def sample(self) -> Sequence[Row]:
        """``up`` = 0 and nothing else when the gateway does not answer within a second."""
        try:
            answer = await self._page.get()
        except NoAnswer:
            return [Row(self._gateway, "up", "", 0.0)]
        if answer.status != 200:
            return [Row(self._gateway, "up", "", 0.0)]
        return [Row(self._gateway, "up", "", 1.0), *parse(self._gateway, answer.text)]

    def close(self) -> None:
        """End its connection."""
        self._page.close()


def parse(gateway: str, text: str) -> list[Row]:
    """Rows of the servers of the backends that users' requests go to. Pinned backends (``pin-…``) are the harness' own
    and left out, and so are the links behind all: they would count every upstream request twice, and health checks too.

    A server that stands in several serving backends is up only when it is up in all of them, and weighs what it weighs
    most in one; all else adds up. Who waits for any server of a backend is in that backend's queue, not in a server's.
    """
    up, weights, totals = dict[str, float](), dict[str, float](), dict[tuple[str, str], float]()
    queued = 0.0
    rows_of_all = csv.reader(io.StringIO(text.removeprefix("# ")))
    names = next(rows_of_all)
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
        for column, metric in COLUMNS.items():
            if line.get(column):
                totals[server, metric] = totals.get((server, metric), 0.0) + float(line[column])
    rows = [Row(gateway, "server_up", f"server={server}", value) for server, value in up.items()]
    rows += [Row(gateway, "server_weight", f"server={server}", value) for server, value in weights.items()]
    rows += [Row(gateway, metric, f"server={server}", value) for (server, metric), value in totals.items()]
    return [*rows, Row(gateway, "queue_current", "", queued)]


PROBES = ProbeSet(("gateway",), lambda scene, gateways: map(GatewayProbe, gateways))
