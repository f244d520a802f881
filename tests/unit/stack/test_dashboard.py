"""The Grafana dashboard: one file, whose queries name series that there are."""

from __future__ import annotations

import json
import re
from typing import Any

from prometheus_client import CollectorRegistry

from harness.judge.drill import ROOT
from harness.model.alert_rules import RULES
from stack.exporter.access import AccessLogs
from stack.exporter.memory import MemoryCollector
from stack.exporter.readiness import Readiness
from stack.exporter.synthetic import Synthetic
from stack.gateway import kind, kinds

DASHBOARD: dict[str, Any] = json.loads((ROOT / "stack/monitoring/grafana/drillyard.json").read_text())
#: A series as queries name it: Prometheus' own two, and those with the prefix of who exports them.
SERIES = re.compile(r"\b(?:up|ALERTS)\b(?=[{\[ ]|$)|\b(?:vllm:|haproxy_|drillyard_)[a-z0-9_]+")
#: What a family's samples are called besides its own name.
ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def queries() -> list[str]:
    """Of all panels."""
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def exported() -> set[str]:
    """The names of the exporter's series, samples or not."""
    registry = CollectorRegistry()
    AccessLogs(registry), Synthetic(registry, Readiness(fall=2))
    registry.register(MemoryCollector(groups=False))
    return {family.name + ending for family in registry.collect() for ending in ENDINGS[family.type]}


def test_queries_name_series_that_exist() -> None:
    """Each is one that a rule is fed by, which a running stack is asked for in its own tests, or the exporter's."""
    conditions = [kind(name).conditions for name in kinds()]
    known = {series for rule in RULES for series in rule.over(conditions).series} | exported() | {"ALERTS"}
    for query in queries():
        named = set(SERIES.findall(query))
        assert named, query
        assert named <= known, query


def test_a_series_that_nobody_exports_would_be_noticed() -> None:
    """The names above are no pattern that everything fits."""
    assert "drillyard_gateway_e2e_seconds_bucket" in exported()
    assert "drillyard_gateway_latency_bucket" not in exported()
    assert SERIES.findall('sum(rate(drillyard_gateway_latency_bucket[1m])) / up{job="x"}') == [
        "drillyard_gateway_latency_bucket",
        "up",
    ]


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """It brings no data source of somebody's own, asks for one, and no panel lies on another."""
    assert [variable["type"] for variable in DASHBOARD["templating"]["list"]] == ["datasource"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]}
    assert len(places) == len(DASHBOARD["panels"]) == len({panel["id"] for panel in DASHBOARD["panels"]})
    for panel in DASHBOARD["panels"]:
        used = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in used} == {"${datasource}"}
