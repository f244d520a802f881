"""What Alertmanager delivers during a run, as events; and whether Prometheus, Alertmanager and the sink are there.

Rows: ``rules_evaluated`` of prometheus (1: every alert rule was looked at in the last seconds, without an error),
``up`` of alertmanager, ``alerts_readable`` of the exporter, which is the sink. Once a second: the tightest limit is 5 s
without an answer. Events: ``alert_rules`` once, ``alert_before`` for what was firing when the run began,
``alert_fired`` and ``alert_cleared`` for everything delivered since. Alertmanager's times are of the wall clock; the
run's anchor turns them into seconds since its zero.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.model.alert_rules import BY_NAME
from harness.model.topology import Topology
from harness.probes.base import ProbeSet, Row
from harness.probes.page import Answer, NoAnswer, Page

_FRESH_S = 3.0
#: Labels that say nothing about what is broken.
_APART = ("alertname", "severity", "scale", "instance_number")
Record = Callable[..., object]


class AlertProbe:
    """The alerts of one stack. ``zero_wall_s`` is the run's zero in seconds since the epoch."""

    name, period_s = "alerts", 1.0

    def __init__(self, topology: Topology, zero_wall_s: float, record: Record) -> None:
        self._rules = Page(topology.component("prometheus").url(path="/api/v1/rules?type=alert"))
        self._ready = Page(topology.component("alertmanager").url(path="/-/ready"))
        self._sink = Page(topology.component("exporter").url())
        self._zero_wall_s, self._record = zero_wall_s, record
        self._since = 0.0  # of the sink's clock; everything it keeps is read once, for what fires already
        self._told: set[tuple[str, str, str]] = set()
        self._knows_rules = False
        self._firing: dict[str, Mapping[str, Any]] = {}  # their labels; now, of this run or from before
        self._started_s: dict[str, float] = {}  # of each that has ever fired
        self._none_fires = asyncio.Event()
        self._none_fires.set()

    @property
    def pages(self) -> list[str]:
        """The pages that fire now, as far as has been delivered, of the service and not of its machine."""
        pages = (labels for labels in self._firing.values() if is_page_of_service(labels))
        return sorted({str(labels["alertname"]) for labels in pages})

    @property
    def firing(self) -> list[tuple[Mapping[str, Any], float]]:
        """The labels of all that fire now, as far as has been delivered, and since when (seconds since the zero)."""
        return [(labels, self._started_s[key]) for key, labels in self._firing.items()]

    async def cleared(self) -> None:
        """Return when no alert fires, as far as has been delivered."""
        await self._none_fires.wait()

    async def sample(self) -> Sequence[Row]:
        """Three rows; what does not answer within a second is a 0."""
        rules, alertmanager, sink = await asyncio.gather(
            _ask(self._rules), _ask(self._ready), _ask(self._sink, f"/alerts?since={self._since!r}")
        )
        return [
            Row("prometheus", "rules_evaluated", "", float(self._evaluated(rules))),
            Row("alertmanager", "up", "", float(alertmanager is not None)),
            Row("exporter", "alerts_readable", "", float(self._read(sink))),
        ]

    def close(self) -> None:
        """End its connections."""
        for page in (self._rules, self._ready, self._sink):
            page.close()

    def _evaluated(self, answer: Answer | None) -> bool:
        if answer is None:
            return False
        groups = json.loads(answer.body)["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        if rules and not self._knows_rules:
            self._record("alert_rules", scale=rules[0]["labels"]["scale"], rules=[rule["name"] for rule in rules])
            self._knows_rules = True
        age_s = max((time.time() - _epoch_s(group["lastEvaluation"]) for group in groups), default=_FRESH_S)
        return age_s < _FRESH_S and all(rule["health"] == "ok" for rule in rules)

    def _read(self, answer: Answer | None) -> bool:
        """Whether the sink told what it has; the news are recorded."""
        if answer is None:
            return False
        fresh = sorted(json.loads(answer.body)["alerts"], key=lambda alert: alert["received_s"])
        earlier = {_labels(alert): alert for alert in fresh if alert["received_s"] < self._zero_wall_s}
        for alert in earlier.values():
            if alert["status"] == "firing":
                self._tell("alert_before", alert)
        for alert in fresh:
            if alert["received_s"] >= self._zero_wall_s:
                self._tell("alert_fired" if alert["status"] == "firing" else "alert_cleared", alert)
        self._since = max((alert["received_s"] for alert in fresh), default=self._since)
        return True

    def _tell(self, kind: str, alert: Mapping[str, Any]) -> None:
        """Record it, once: Alertmanager repeats what fires whenever something changes in the same group."""
        labels, cleared = alert["labels"], kind == "alert_cleared"
        key = (_labels(alert), alert["startsAt"], alert["status"])
        if key in self._told:
            return
        self._told.add(key)
        self._record(
            kind,
            alert=labels["alertname"],
            severity=labels["severity"],
            labels={name: value for name, value in labels.items() if name not in _APART},
            started_s=self._since_zero(_epoch_s(alert["startsAt"])),
            ended_s=self._since_zero(_epoch_s(alert["endsAt"])) if cleared else None,
            received_s=self._since_zero(alert["received_s"]),
        )
        if cleared:
            self._firing.pop(_labels(alert), None)
        else:
            self._firing[_labels(alert)] = labels
            self._started_s[_labels(alert)] = self._since_zero(_epoch_s(alert["startsAt"]))
        (self._none_fires.clear if self._firing else self._none_fires.set)()

    def _since_zero(self, wall_s: float) -> float:
        return round(wall_s - self._zero_wall_s, 6)


async def _ask(page: Page, target: str | None = None) -> Answer | None:
    """The answer, if it is a good one that came in time."""
    try:
        answer = await page.get(target)
    except NoAnswer:
        return None
    return answer if answer.status == 200 else None


def is_page_of_service(labels: Mapping[str, Any]) -> bool:
    """Whether somebody is woken for the service."""
    rule = BY_NAME.get(str(labels["alertname"]))
    return labels["severity"] == "page" and (rule is None or rule.of == "service")


def _labels(alert: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(alert["labels"].items()))


def _epoch_s(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


PROBES = ProbeSet(
    ("alertmanager",), lambda scene, _: [AlertProbe(scene.runtime.topology, scene.zero_wall_s, scene.record)]
)
