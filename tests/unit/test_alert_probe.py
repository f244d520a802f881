"""What Alertmanager delivers becomes events of the run, once each, and never those of a run before."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from harness.model.alert_rules import RULES
from harness.model.topology import Topology
from harness.probes.alerts import AlertProbe
from harness.probes.base import Row
from harness.probes.page import Answer, NoAnswer
from stack.stacks.vllm_haproxy import STACK

ZERO_S = 1_800_000_000.0
ALL_THERE = {("prometheus", 1.0), ("alertmanager", 1.0), ("exporter", 1.0)}


def at(seconds: float) -> str:
    """That many seconds after the run's zero, as Alertmanager writes it: nanoseconds, and a Z."""
    return f"{dt.datetime.fromtimestamp(ZERO_S + seconds, dt.UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


def told(status: str, name: str, started: float, received: float, ended: float = 0.0, **labels: str) -> dict[str, Any]:
    """One alert as the sink keeps it."""
    every = {"alertname": name, "severity": "page", "scale": "drill", "instance_number": "17", **labels}
    ends = at(ended) if status == "resolved" else "0001-01-01T00:00:00Z"
    return {"status": status, "labels": every, "annotations": {}, "startsAt": at(started), "endsAt": ends,
            "received_s": ZERO_S + received}  # fmt: skip


class Asked:
    """A page without a server."""

    def __init__(self, answer: Callable[[str | None], Answer]) -> None:
        self._answer = answer

    async def get(self, target: str | None = None) -> Answer:
        """At once."""
        return self._answer(target)


class Chain:
    """Prometheus, Alertmanager and the sink, as far as the probe asks them."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []
        self.dead: set[str] = set()
        self.age_s, self.health = 0.2, "ok"
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.probe = AlertProbe(
            Topology(STACK, instance=17), ZERO_S, lambda kind, **data: self.events.append((kind, data))
        )
        for name, page in (("prometheus", "_rules"), ("alertmanager", "_ready"), ("exporter", "_sink")):
            setattr(self.probe, page, Asked(partial(self._answer, name)))

    def _answer(self, name: str, target: str | None) -> Answer:
        if name in self.dead:
            raise NoAnswer("refused", "nobody is there")
        if name == "prometheus":
            return Answer(200, json.dumps(self._rules()).encode())
        since = float((target or "").partition("since=")[2] or 0)
        news = [alert for alert in self.kept if alert["received_s"] > since]
        return Answer(200, json.dumps({"alerts": news}).encode())

    def _rules(self) -> dict[str, Any]:
        last = dt.datetime.fromtimestamp(time.time() - self.age_s, dt.UTC).isoformat()
        rules = [{"name": rule.name, "health": self.health, "labels": {"scale": "drill"}} for rule in RULES]
        return {"data": {"groups": [{"lastEvaluation": last, "rules": rules}]}}

    def sample(self) -> set[tuple[str, float]]:
        """One look: who was there."""
        rows: list[Row] = list(asyncio.run(self.probe.sample()))
        return {(row.component, row.value) for row in rows}

    def heard(self) -> list[tuple[str, str, float]]:
        """Events about alerts: kind, alert, and when it was delivered."""
        return [(kind, data["alert"], data["received_s"]) for kind, data in self.events if kind != "alert_rules"]


def test_delivered_alerts_become_events_once() -> None:
    """Alertmanager repeats an alert whenever its group changes; the run has it once, in seconds since its zero."""
    chain = Chain()
    chain.kept = [told("firing", "ReplicaDown", 19.5, 20.0, server="replica-2")]
    assert chain.sample() == ALL_THERE
    chain.kept += [told("firing", "ReplicaDown", 19.5, 21.0, server="replica-2")]
    chain.kept += [told("resolved", "ReplicaDown", 19.5, 30.5, 30.25, server="replica-2")]
    chain.sample()
    assert chain.heard() == [("alert_fired", "ReplicaDown", 20.0), ("alert_cleared", "ReplicaDown", 30.5)]
    cleared = chain.events[-1][1]
    assert (cleared["started_s"], cleared["ended_s"], cleared["labels"]) == (19.5, 30.25, {"server": "replica-2"})
    assert chain.events[0][1] == {"scale": "drill", "rules": [rule.name for rule in RULES]}


def test_an_alert_that_fires_again_is_another_one() -> None:
    """Two outages are two alerts, though their labels are the same."""
    chain = Chain()
    chain.kept = [told("firing", "GatewayDown", 1, 2), told("resolved", "GatewayDown", 1, 5, 4)]
    chain.kept += [told("firing", "GatewayDown", 8, 9)]
    chain.sample()
    assert [kind for kind, _, _ in chain.heard()] == ["alert_fired", "alert_cleared", "alert_fired"]


def test_alerts_of_earlier_runs_do_not_leak_in() -> None:
    """On a warm stack the sink still has what other runs caused: only what fires still is noted, as from before."""
    chain = Chain()
    chain.kept = [
        told("firing", "FailuresHigh", -90, -89),
        told("resolved", "FailuresHigh", -90, -50, -51),
        told("firing", "FailuresHighSlow", -80, -79),
    ]
    chain.sample()
    assert chain.heard() == [("alert_before", "FailuresHighSlow", -79.0)]
    chain.kept += [told("resolved", "FailuresHighSlow", -80, 3.0, 2.0)]
    chain.sample()
    assert chain.heard()[1:] == [("alert_cleared", "FailuresHighSlow", 3.0)]


def test_pages_that_fire_now_are_those_of_the_service() -> None:
    """From before the run as well; not tickets, not the machine's own, not what has cleared."""
    chain = Chain()
    chain.kept = [told("firing", "ReplicaDown", -9, -8, server="replica-2"), told("firing", "OutOfMemoryKill", 1, 2)]
    chain.kept += [told("firing", "DailyTokenSpend", 2, 3, severity="ticket"), told("firing", "GatewayDown", 3, 4)]
    chain.sample()
    assert chain.probe.pages == ["GatewayDown", "ReplicaDown"]
    chain.kept += [told("resolved", "GatewayDown", 3, 5, 5)]
    chain.sample()
    assert chain.probe.pages == ["ReplicaDown"]
    since_s = {labels["alertname"]: since_s for labels, since_s in chain.probe.firing}
    assert since_s.keys() == {"ReplicaDown", "OutOfMemoryKill", "DailyTokenSpend"}
    assert since_s["ReplicaDown"] == pytest.approx(-9.0)


@pytest.mark.parametrize("dead", ["prometheus", "alertmanager", "exporter"])
def test_who_does_not_answer_is_seen(dead: str) -> None:
    """Silence is no alert only while everybody on the way is there; what came meanwhile is read afterwards."""
    chain = Chain()
    chain.dead = {dead}
    chain.kept = [told("firing", "ReplicaDown", 1, 2)]
    assert (dead, 0.0) in chain.sample()
    chain.dead = set()
    assert chain.sample() == ALL_THERE
    assert chain.heard() == [("alert_fired", "ReplicaDown", 2.0)]


@pytest.mark.parametrize(("age_s", "health"), [(9.0, "ok"), (0.2, "err")])
def test_rules_that_are_not_looked_at_are_seen(age_s: float, health: str) -> None:
    """A Prometheus that answers and evaluates nothing, or cannot evaluate a rule, does not watch."""
    chain = Chain()
    chain.age_s, chain.health = age_s, health
    assert ("prometheus", 0.0) in chain.sample()


def test_cleared_waits_for_the_last_alert() -> None:
    """A recovery that lasts until the alerts have cleared goes on while one of two fires."""

    async def waiting() -> list[bool]:
        chain, found = Chain(), []
        chain.kept = [told("firing", "ReplicaDown", 1, 2, server=f"replica-{n}") for n in (1, 2)]
        for n in (1, 2):
            await chain.probe.sample()
            cleared = asyncio.create_task(chain.probe.cleared())
            await asyncio.sleep(0)
            found.append(cleared.done())
            cleared.cancel()
            chain.kept.append(told("resolved", "ReplicaDown", 1, 5 + n, 4, server=f"replica-{n}"))
        await chain.probe.sample()
        await asyncio.wait_for(chain.probe.cleared(), 1)
        return found

    assert asyncio.run(waiting()) == [False, False]
