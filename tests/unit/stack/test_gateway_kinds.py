"""Another gateway software is one module: the exporter, Prometheus' files and the start take it from there."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from harness.model.alert_rules import RULES, Condition, GatewayConditions
from harness.model.errors import UsageError
from harness.model.topology import Topology
from stack import commands, config, gateway, tools
from stack.exporter.access import AccessLogs
from stack.keys import Keys
from stack.stacks import vllm_haproxy
from stack.tools.tool import Tool

#: Another software in whole: what a file of that name in stack/gateway/ would hold.
MODULE = """
from pathlib import Path

from harness.model.alert_rules import Condition, GatewayConditions
from stack.gateway import Access


class Double:
    conditions = GatewayConditions(
        ejected=Condition("double_ejected == 1", ("double_ejected",)),
        queue_full=Condition("double_waiting >= 0.9 * $queue_max", ("double_waiting",)),
    )
    scrape = {"metrics_path": "/double"}

    def files(self, topology, keys, gateway):
        return {"double.conf": f"i am {gateway} in @CONFIG@"}

    def start(self, config):
        return "double", ["--config", str(config / "double.conf")]

    def access(self, line):
        word, status, queue_ms, total_ms = line.split()
        if word != b"GET":
            return None
        return Access(int(status), status[:1] == b"5", True, float(queue_ms), float(total_ms))


KIND = Double()
"""
KEYS = Keys("operator-0123456789", {})


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a second kind: one module, found by its name."""
    folder = tmp_path / "kinds"
    folder.mkdir()
    (folder / "double.py").write_text(MODULE)
    monkeypatch.setattr(gateway, "__path__", [*gateway.__path__, str(folder)])
    monkeypatch.setitem(sys.modules, "stack.gateway.double", ModuleType("removed at the end"))
    monkeypatch.delitem(sys.modules, "stack.gateway.double")
    return "double"


def stack_of(*kinds: str) -> Topology:
    """One gateway of each of these kinds."""
    made = vllm_haproxy.stack(gateways=len(kinds))
    of = dict(zip(made.of("gateway"), kinds, strict=True))
    components = (dataclasses.replace(one, kind=of[one.name]) if one.name in of else one for one in made.components)
    return Topology(dataclasses.replace(made, components=tuple(components)), instance=54, engine="sim")


def rendered(topology: Topology, folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Prometheus' jobs and rules, by name."""
    config.render(topology, KEYS, folder)
    jobs = yaml.safe_load((folder / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    (group,) = yaml.safe_load((folder / "prometheus/rules.yml").read_text())["groups"]
    return {one["job_name"]: one for one in jobs}, {one["alert"]: one for one in group["rules"]}


def test_rules_and_scrapes_are_those_of_the_kind(double: str, tmp_path: Path) -> None:
    """Its series alone, and no word of another's; what rests on no gateway is the same."""
    jobs, rules = rendered(stack_of(double), tmp_path / "double")
    _, usual = rendered(stack_of("haproxy"), tmp_path / "usual")
    assert rules["ReplicaDown"]["expr"] == 'up{job="replica"} == 0 or double_ejected == 1'
    assert rules["ReplicaDown"]["annotations"]["series"] == "up, double_ejected"
    assert rules["QueueSaturated"]["expr"].startswith("double_waiting >= 0.9 * 64 or sum by (component)")
    assert jobs["gateway"]["metrics_path"] == "/double"
    assert "params" not in jobs["gateway"]
    assert (tmp_path / "double/gateway-a/double.conf").read_text().startswith("i am gateway-a in /")
    for name in set(usual) - {"ReplicaDown", "QueueSaturated"}:
        assert rules[name] == usual[name]
    assert "haproxy" not in json.dumps([jobs, rules])


def test_a_stack_may_have_several_kinds(double: str, tmp_path: Path) -> None:
    """Each is scraped as it wants to be, all as the job that rules speak of; any of them makes a rule fire."""
    jobs, rules = rendered(stack_of("haproxy", double), tmp_path)
    assert {"gateway-haproxy", "gateway-double"} <= set(jobs)
    assert "gateway" not in jobs
    (target,) = jobs["gateway-double"]["static_configs"]
    assert target["labels"] == {"component": "gateway-b", "job": "gateway"}
    for series in ("haproxy_server_status", "double_ejected"):
        assert series in rules["ReplicaDown"]["expr"]
        assert series in rules["ReplicaDown"]["annotations"]["series"]


def test_its_log_is_counted_by_its_kind(double: str, tmp_path: Path) -> None:
    """The exporter is told whose log it is; what the kind cannot read is counted so, what is no record is not."""
    config.render(stack_of(double), KEYS, tmp_path)
    assert json.loads((tmp_path / "exporter/exporter.json").read_text())["gateway_kinds"] == {"gateway-a": double}
    registry = CollectorRegistry()
    logs = AccessLogs(registry)
    for line in (b"GET 200 20 350", b"GET 503 0 1", b"NOTE 1 1 1", b"GET ? 1 1"):
        logs.count("gateway-a", gateway.kind(double), line)
    found = {
        name: registry.get_sample_value(f"drillyard_gateway_{name}", {"gateway": "gateway-a", **labels})
        for name, labels in (
            ("requests_total", {"status_class": "2xx"}),
            ("failures_total", {}),
            ("log_unreadable_lines_total", {}),
            ("e2e_seconds_count", {}),
        )
    }
    assert found == {"requests_total": 1, "failures_total": 1, "log_unreadable_lines_total": 1, "e2e_seconds_count": 2}


def test_it_is_started_by_its_kind(double: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its program, with its arguments."""
    monkeypatch.setattr(tools, "require", lambda name: Tool(Path("/opt") / name))
    topology = stack_of(double)
    found = commands.command(topology, topology.component("gateway-a"), tmp_path, "token")
    assert found.argv == ["/opt/double", "--config", str(tmp_path / "gateway-a/double.conf")]


def test_a_kind_that_there_is_not_is_refused(double: str, tmp_path: Path) -> None:
    """With those that there are."""
    with pytest.raises(UsageError, match="gateway-a is of the kind 'apache': expected double or haproxy"):
        config.render(stack_of("apache"), KEYS, tmp_path)


def test_without_a_gateway_its_conditions_are_never_true() -> None:
    """The rest of the rule stays."""
    (rule,) = (rule.over([]) for rule in RULES if rule.name == "ReplicaDown")
    assert rule.expression == 'up{job="replica"} == 0 or vector(0) > 1'
    assert rule.series == ("up",)


@pytest.mark.parametrize("expression", ["rate(x_total[$window]) > 0", "rate(x_total[5s]) > 0", "x offset 5s > 0"])
def test_a_condition_must_not_look_back(expression: str) -> None:
    """How long a rule takes at most is known without asking which gateway it is."""
    with pytest.raises(ValueError, match="looks back"):
        Condition(expression, ("x",))
    assert GatewayConditions(Condition("x > 0", ("x",)), Condition("y > 0", ("y",))).ejected.series == ("x",)
