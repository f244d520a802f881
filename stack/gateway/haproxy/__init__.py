"""HAProxy, for the port in ``stack/gateway``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.model.alert_rules import LONG_QUEUE_FULL, QUEUE_FULL, Condition, GatewayConditions
from harness.model.topology import Topology
from stack.gateway import Access
from stack.gateway.haproxy.access import access
from stack.keys import Keys


class _Kind:
    """HAProxy."""

    conditions = GatewayConditions(
        ejected=Condition(
            'min by (server) (haproxy_server_status{proxy="replicas",state="UP"}) == 0', ("haproxy_server_status",)
        ),
        queue_full=Condition(
            f'haproxy_backend_current_queue{{proxy="replicas"}} >= {QUEUE_FULL} * $queue_max'
            f' or haproxy_backend_current_queue{{proxy="long"}} >= {LONG_QUEUE_FULL} * $long_queue_max',
            ("haproxy_backend_current_queue",),
        ),
    )
    #: Of 200 kB the frontends' are not asked for, and those of the harness' own backends (pins, links) dropped.
    scrape: Mapping[str, Any] = {
        "params": {"scope": ["backend", "server"]},
        "metric_relabel_configs": [{"source_labels": ["proxy"], "regex": "(pin|link)-.*", "action": "drop"}],
    }

    def files(self, topology: Topology, keys: Keys, gateway: str) -> dict[str, str]:
        """haproxy.cfg, keys.map, guard.lua."""
        from stack.gateway.haproxy import config  # not for the exporter, which only reads logs: it brings templates

        return config.files(topology, keys, gateway)

    def start(self, config: Path) -> tuple[str, list[str]]:
        """In the foreground."""
        return "haproxy", ["-db", "-f", str(config / "haproxy.cfg")]

    def access(self, line: bytes) -> Access | None:
        """Each request's line is one JSON object."""
        return access(line)


KIND = _Kind()
