"""Configuration of Prometheus and Alertmanager."""

from __future__ import annotations

from typing import Any

import yaml

from harness.model.alert_rules import (
    EVALUATION_S,
    GROUP_INTERVAL_S,
    GROUP_WAIT_S,
    SCRAPE_S,
    STACK_SCALE,
    Scale,
    rule_file,
)
from harness.model.topology import Topology

#: How often what no rule rests on is scraped, in seconds.
SELDOM_S = 15
#: Of a gateway's 200 kB the frontends' are not asked for, and those of the harness' own backends (pins, links) dropped.
_SERVING_ONLY = {
    "params": {"scope": ["backend", "server"]},
    "metric_relabel_configs": [{"source_labels": ["proxy"], "regex": "(pin|link)-.*", "action": "drop"}],
}


def prometheus_files(topology: Topology, scale: Scale = STACK_SCALE) -> dict[str, str]:
    """prometheus.yml and rules.yml."""
    config = {
        "global": {
            "scrape_interval": f"{SCRAPE_S}s",  # a fault lasts half a minute: it must be seen
            "scrape_timeout": "1s",
            "evaluation_interval": f"{EVALUATION_S[scale]}s",
            "external_labels": {"instance_number": str(topology.instance)},
        },
        "rule_files": ["rules.yml"],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [_target(topology, "alertmanager", "http")]}]}],
        },
        "scrape_configs": [
            _job(topology, "replica", "http"),
            _job(topology, "gateway", "metrics") | _SERVING_ONLY,
            _job(topology, "exporter", "http"),
            # No rule looks at these at all: they are here for whoever looks into a stack by hand.
            _job(topology, "toxiproxy", "api") | {"scrape_interval": f"{SELDOM_S}s"},
            _job(topology, "prometheus", "http") | {"scrape_interval": f"{SELDOM_S}s"},
        ],
    }
    missing = {"ReplicaDown"} if "alert_rule_missing" in topology.defects else set()
    return {"prometheus.yml": _yaml(config), "rules.yml": _yaml(rule_file(scale, topology.gateway_policy, missing))}


def alertmanager_files(topology: Topology) -> dict[str, str]:
    """alertmanager.yml: every alert goes to the exporter, which keeps them for the run."""
    webhook = {"url": f"http://{_target(topology, 'exporter', 'http')}/alerts", "send_resolved": True}
    config = {
        "route": {
            "receiver": "exporter",
            "group_by": ["alertname"],
            "group_wait": f"{GROUP_WAIT_S}s",
            "group_interval": f"{GROUP_INTERVAL_S}s",
            "repeat_interval": "1h",
        },
        "receivers": [{"name": "exporter", "webhook_configs": [webhook]}],
    }
    return {"alertmanager.yml": _yaml(config)}


def _job(topology: Topology, role: str, port: str) -> dict[str, Any]:
    targets = [
        {"targets": [_target(topology, component, port)], "labels": {"component": component}}
        for component in topology.stack.of(role)
    ]
    return {"job_name": role, "static_configs": targets}


def _target(topology: Topology, component: str, port: str) -> str:
    return f"{topology.seen_by_components(component)}:{topology.component(component).ports[port]}"


def _yaml(data: dict[str, Any]) -> str:
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
