"""The alert rules, one source for two time scales."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any, Literal

Scale = Literal["production", "drill"]


@dataclass(frozen=True)
class Window:
    """A time span in both scales, in Prometheus' notation."""

    production: str
    drill: str

    def on(self, scale: Scale) -> str:
        """The span on that scale."""
        return self.production if scale == "production" else self.drill


@dataclass(frozen=True)
class Rule:
    """One alert. ``expression`` may hold ``$window``; ``series`` names what feeds it."""

    name: str
    expression: str
    window: Window
    hold: Window
    severity: Literal["page", "ticket"]
    summary: str
    series: str


#: Answers of the gateways themselves, engine errors included: vLLM's own counters leave aborted requests out.
_FAILED = 'sum(rate(haproxy_frontend_http_responses_total{proxy="service",code="5xx"}[$window]))'
_ALL = 'sum(rate(haproxy_frontend_http_responses_total{proxy="service"}[$window]))'

RULES = (
    Rule(
        "ReplicaDown",
        'up{job="replica"} == 0 or min by (server) (haproxy_server_status{proxy="replicas",state="UP"}) == 0',
        Window("1m", "5s"),
        Window("1m", "2s"),
        "page",
        "A replica does not answer its scrape, or a gateway has taken it out.",
        "up, haproxy_server_status",
    ),
    Rule(
        "GatewayFailures",
        f"{_FAILED} / {_ALL} > 0.01",
        Window("2m", "10s"),
        Window("2m", "3s"),
        "page",
        "More than 1 % of the gateways' answers are failures (5xx).",
        "haproxy_frontend_http_responses_total",
    ),
    Rule(
        "GatewayDown",
        'up{job="gateway"} == 0',
        Window("1m", "5s"),
        Window("1m", "2s"),
        "page",
        "A gateway does not answer its scrape.",
        "up",
    ),
)


def rule_file(scale: Scale, missing: Set[str] = frozenset()) -> dict[str, Any]:
    """The rule file's content as data, without the rules called ``missing``: a defect."""
    rules = [
        {
            "alert": rule.name,
            "expr": rule.expression.replace("$window", rule.window.on(scale)),
            "for": rule.hold.on(scale),
            "labels": {"severity": rule.severity, "scale": scale},
            "annotations": {"summary": rule.summary, "series": rule.series},
        }
        for rule in RULES
        if rule.name not in missing
    ]
    return {"groups": [{"name": f"drillyard-{scale}", "interval": "1s" if scale == "drill" else "15s", "rules": rules}]}
