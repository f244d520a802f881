"""Configuration of Prometheus and Alertmanager."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from stack import gateway

#: How often what no rule rests on is scraped, in seconds.
SELDOM_S = 15


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
            *_gateway_jobs(topology),
            _job(topology, "exporter", "http"),
            # No rule looks at these at all: they are here for whoever looks into a stack by hand.
            _job(topology, "toxiproxy", "api") | {"scrape_interval": f"{SELDOM_S}s"},
            _job(topology, "prometheus", "http") | {"scrape_interval": f"{SELDOM_S}s"},
        ],
    }
    missing = {"ReplicaDown"} if "alert_rule_missing" in topology.defects else set()
    conditions = [gateway.kind(name).conditions for name in gateway.by_kind(topology)]
    rules = rule_file(scale, topology.gateway_policy, conditions, missing)
    return {"prometheus.yml": _yaml(config), "rules.yml": _yaml(rules)}


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
    return {"job_name": role, "static_configs": _targets(topology, topology.stack.of(role), port)}


def _gateway_jobs(topology: Topology) -> Iterator[dict[str, Any]]:
    """One for each kind, in which Prometheus asks as that kind wants it; all of them are the job ``gateway``."""
    for name, gateways in gateway.by_kind(topology).items():
        targets = _targets(topology, [one.name for one in gateways], "metrics")
        alone = len(gateways) == len(topology.gateways)
        if not alone:
            targets = [one | {"labels": one["labels"] | {"job": "gateway"}} for one in targets]
        yield {
            "job_name": "gateway" if alone else f"gateway-{name}", "static_configs": targets,
            **gateway.kind(name).scrape,
        }  # fmt: skip


def _targets(topology: Topology, components: Iterable[str], port: str) -> list[dict[str, Any]]:
    return [{"targets": [_target(topology, name, port)], "labels": {"component": name}} for name in components]


def _target(topology: Topology, component: str, port: str) -> str:
    return f"{topology.seen_by_components(component)}:{topology.component(component).ports[port]}"


def _yaml(data: dict[str, Any]) -> str:
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
