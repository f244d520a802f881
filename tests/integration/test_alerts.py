"""Alert rules on a running stack: the series that feed them are there, and a healthy stack fires nothing."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from harness.model.alert_rules import RULES, Rule
from stack import keys
from stack.engines import DEPLOYMENT
from stack.gateway import kind
from stack.runtimes.process import ProcessRuntime
from stack.stacks.vllm_haproxy import STACK
from tests.waiting import eventually

#: A series and the labels that it is selected by, as rules write them.
SELECTOR = re.compile(r"\b(?:up\b|(?:vllm:|haproxy_|drillyard_)[a-z0-9_]+)(?:{[^}]*})?")


class Monitored:
    """A stack's Prometheus, after some good requests."""

    def __init__(self, runtime: ProcessRuntime) -> None:
        self.topology = runtime.topology
        self._url = self.topology.component("prometheus").url()
        key = keys.load_or_create(runtime.folder).users["user-001"]
        for gateway in STACK.of("gateway"):
            self._ask(self.topology.component(gateway).url(), key)

    def _ask(self, url: str, key: str) -> None:
        body = {"model": DEPLOYMENT, "messages": [{"role": "user", "content": "Say something."}], "max_tokens": 8}
        headers = {"Authorization": f"Bearer {key}"}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The vector that the expression is now."""
        answer = httpx.get(f"{self._url}/api/v1/query", params={"query": expression}, timeout=10, trust_env=False)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found


@pytest.fixture(scope="module")
def monitored(sim_stack: ProcessRuntime) -> Monitored:
    """The session's stack."""
    return Monitored(sim_stack)


@pytest.mark.parametrize(
    "rule", [rule.over([kind("haproxy").conditions]) for rule in RULES], ids=lambda rule: rule.name
)
def test_series_that_feed_a_rule_exist(rule: Rule, monitored: Monitored) -> None:
    """A rule over a series that nobody exports, or over labels that it lacks, never fires, and nobody notices."""
    selectors = set(SELECTOR.findall(rule.expression))
    assert selectors
    for selector in selectors:
        assert eventually(lambda selector=selector: monitored.query(selector)), f"{rule.name}: no {selector}"


def test_a_replica_is_joined_with_its_synthetic_generation(monitored: Monitored) -> None:
    """ReplicaDeaf brings two sources together; on a healthy stack the turned expression finds both replicas."""
    (rule,) = (rule for rule in RULES if rule.name == "ReplicaDeaf")
    turned = rule.expression.replace("drillyard_synthetic_ok == 0", "drillyard_synthetic_ok == 1")
    assert turned != rule.expression
    assert eventually(lambda: len(monitored.query(turned)) == len(STACK.of("replica")))


def test_healthy_stack_fires_nothing(monitored: Monitored) -> None:
    """All rules are loaded and evaluated without an error; none fires, once what earlier tests broke has passed."""
    groups = httpx.get(
        f"{monitored.topology.component('prometheus').url()}/api/v1/rules", timeout=10, trust_env=False
    ).json()["data"]["groups"]
    loaded = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert loaded == dict.fromkeys((rule.name for rule in RULES), "ok")
    assert eventually(lambda: not monitored.query('ALERTS{alertstate="firing"}'), 60), monitored.query("ALERTS")
