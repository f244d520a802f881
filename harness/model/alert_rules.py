"""The alert rules, one source for two time scales.

Latency and failures are taken from the gateways' access logs, as the exporter counts them: the engines' own histograms
leave aborted requests out. Only what no gateway knows comes from the engines: the time to the first token (their
headers come before it), their queue, their KV cache, their tokens. Two rules rest on metrics of a gateway's own, too:
what these are called is a matter of its software, which brings them as ``GatewayConditions``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.model.topology import GatewayPolicy

Scale = Literal["production", "drill"]
SCALES: tuple[Scale, ...] = ("production", "drill")
#: What Drillyard's own stacks are started with.
STACK_SCALE: Scale = "drill"

#: What a day may cost: prompt and output tokens of all replicas. In the drill's scale the window's share of it.
DAILY_TOKENS = 500_000_000
#: How often Prometheus asks its targets and looks at the rules, and Alertmanager at its groups; in seconds.
SCRAPE_S = 1
EVALUATION_S: Mapping[Scale, int] = {"production": 15, "drill": 1}
GROUP_WAIT_S, GROUP_INTERVAL_S = 0, 1
#: From Prometheus over Alertmanager to the sink: two posts with their queues, on a machine that has a lot to do.
DELIVERY_S = 2
#: The promises that the rules about latency and failures watch (docs/metrics.md).
E2E_P95_MAX_S, EXECUTION_P95_MAX_S, TTFT_P95_MAX_S = 8.0, 5.0, 0.8
FAILURE_RATIO_MAX = 0.01
#: So many failures a window must hold before a share of them is an answer: the rule of every percentile here, five
#: samples beyond it. With 5 requests/s a window of 10 s holds 50, and a single failure would be 2 %.
FAILURES_MIN = 5
#: Buckets of the exporter's histograms, and of vLLM's histogram of the TTFT.
GATEWAY_BUCKETS_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 60)
TTFT_BUCKETS_S = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
)  # fmt: skip
#: A queue is as good as full at this share of its places: a gateway's, and the one for long prompts.
QUEUE_FULL, LONG_QUEUE_FULL = 0.9, 0.75
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
#: In a rule: where the gateways' own conditions stand, by the names of ``GatewayConditions``, and their series.
_EJECTED, _QUEUE_FULL = "$ejected", "$queue_full"
#: What is never true: in place of the conditions where there is no gateway.
_NEVER = "vector(0) > 1"


@dataclass(frozen=True)
class Window:
    """A time span in both scales, in Prometheus' notation: one number, one unit."""

    production: str
    drill: str

    def on(self, scale: Scale) -> str:
        """The span on that scale."""
        return self.production if scale == "production" else self.drill

    def seconds(self, scale: Scale) -> int:
        """The span on that scale."""
        text = self.on(scale)
        return int(text[:-1]) * _SECONDS[text[-1]]


@dataclass(frozen=True)
class Condition:
    """PromQL that is true while something is wrong, and the series that it looks at: at their newest samples alone.

    It may hold ``$queue_max`` and ``$long_queue_max``, of the gateways' policy. ValueError for one that looks further
    back: how long a rule takes at most must not depend on the gateway.
    """

    expression: str
    series: tuple[str, ...]

    def __post_init__(self) -> None:
        """No range, no offset."""
        if "[" in self.expression or "$window" in self.expression or "offset" in self.expression:
            raise ValueError(f"{self.expression!r} looks back: expected the newest samples only")


@dataclass(frozen=True)
class GatewayConditions:
    """What rules look at of one kind of gateway.

    ``ejected``: a gateway does not use a replica that it finds ill; the alert has the label ``server``, the replica's
    name, and no other. ``queue_full``: a queue is as good as full; labels ``component``, the gateway, and ``proxy``:
    ``replicas``, or ``long`` where long prompts wait apart.
    """

    ejected: Condition
    queue_full: Condition


@dataclass(frozen=True)
class Rule:
    """One alert. ``series`` names what feeds it; ``of`` is whose trouble it tells of, the service's or its machine's.

    ``share`` of the window is all that has to be bad for it to hold: a hundredth for «more than 1 %». How long it takes
    until ``FAILURES_MIN`` requests have failed depends on the load: a drill that expects such an alert allows for it.

    ``expression`` may hold ``$window``, ``$before`` (a longer window, for what was usual), ``$queue_max`` and
    ``$long_queue_max`` (of the gateways' policy) and ``$budget`` (tokens in a window). ``$ejected`` and
    ``$queue_full``, in ``series``, too, stand for conditions of the gateways: ``over`` puts them in.
    """

    name: str
    expression: str
    window: Window
    hold: Window
    severity: Literal["page", "ticket"]
    summary: str
    series: tuple[str, ...]
    before: Window = Window("1h", "60s")
    of: Literal["service", "machine"] = "service"
    share: float = 1.0

    def looks_back_s(self, scale: Scale) -> float:
        """How old what it looks at may be: its window; nothing where it only looks at the newest sample."""
        return float(self.window.seconds(scale)) if "$window" in self.expression else 0.0

    def fires_within_s(self, scale: Scale) -> float:
        """From the first bad sample to the sink, at most: enough of the window, the hold, and what handing on takes."""
        return self.share * self.looks_back_s(scale) + self.hold.seconds(scale) + _handing_on_s(scale)

    def clears_within_s(self, scale: Scale) -> float:
        """From the last bad sample to the sink, at most: until it has left the window, and what handing on takes."""
        return self.looks_back_s(scale) + _handing_on_s(scale)

    def over(self, gateways: Iterable[GatewayConditions]) -> Rule:
        """The rule over gateways of these kinds: any of them may make it fire."""
        kinds = list(gateways)
        of_kinds = {_EJECTED: [one.ejected for one in kinds], _QUEUE_FULL: [one.queue_full for one in kinds]}
        expression, series = self.expression, list[str]()
        for name, conditions in of_kinds.items():
            expression = expression.replace(name, " or ".join(one.expression for one in conditions) or _NEVER)
        for name in self.series:
            series += [s for one in of_kinds[name] for s in one.series] if name in of_kinds else [name]
        return replace(self, expression=expression, series=tuple(dict.fromkeys(series)))

    def data(self, scale: Scale, policy: GatewayPolicy) -> dict[str, Any]:
        """The rule as it stands in a rule file."""
        budget = DAILY_TOKENS * self.window.seconds(scale) // _SECONDS["d"]
        expression = self.expression
        for name, value in (
            ("$window", self.window.on(scale)),
            ("$before", self.before.on(scale)),
            ("$queue_max", str(policy.queue_max)),
            ("$long_queue_max", str(policy.long_queue_max)),
            ("$budget", str(budget)),
        ):
            expression = expression.replace(name, value)
        return {
            "alert": self.name,
            "expr": expression,
            "for": self.hold.on(scale),
            "labels": {"severity": self.severity, "scale": scale},
            "annotations": {"summary": self.summary, "series": ", ".join(self.series)},
        }


def _handing_on_s(scale: Scale) -> float:
    return float(SCRAPE_S + EVALUATION_S[scale] + max(GROUP_WAIT_S, GROUP_INTERVAL_S) + DELIVERY_S)


def _quantile(quantile: float, histogram: str) -> str:
    return f"histogram_quantile({quantile}, sum by (le) (rate({histogram}_bucket[$window])))"


_E2E = "drillyard_gateway_e2e_seconds"
_EXECUTION = "drillyard_gateway_execution_seconds"
_GATEWAY_QUEUE = "drillyard_gateway_queue_seconds"
_ENGINE_QUEUE = "vllm:request_queue_time_seconds"
_TTFT = "vllm:time_to_first_token_seconds"
_GAP = "vllm:inter_token_latency_seconds"
_FAILURES, _REQUESTS = "drillyard_gateway_failures_total", "drillyard_gateway_requests_total"
_FAILING = (
    f"sum(rate({_FAILURES}[$window])) / sum(rate({_REQUESTS}[$window])) > {FAILURE_RATIO_MAX}"
    f" and sum(increase({_FAILURES}[$window])) >= {FAILURES_MIN}"
)
#: Tokens per second of one stream, while it streams: falls when engines slow down, not when users stay away.
_TPS = f"sum(rate({_GAP}_count[$window])) / sum(rate({_GAP}_sum[$window]))"
_USUAL_TPS = _TPS.replace("[$window]", "[$before] offset $window")

RULES = (
    Rule(
        "ReplicaDown",
        f'up{{job="replica"}} == 0 or {_EJECTED}',
        Window("1m", "5s"),
        Window("1m", "2s"),
        "page",
        "A replica does not answer its scrape, or a gateway has ejected it.",
        ("up", _EJECTED),
    ),
    Rule(
        "ReplicaDeaf",
        'label_replace(drillyard_synthetic_ok == 0, "component", "$1", "replica", "(.*)")'
        ' and on (component) up{job="replica"} == 1',
        Window("1m", "5s"),
        Window("1m", "3s"),
        "page",
        "A replica answers its scrape but generates nothing: its engine hangs.",
        ("drillyard_synthetic_ok", "up"),
    ),
    Rule(
        "GatewayDown",
        'up{job="gateway"} == 0',
        Window("1m", "5s"),
        Window("1m", "2s"),
        "page",
        "A gateway does not answer its scrape.",
        ("up",),
    ),
    Rule(
        "ExporterDown",
        'up{job="exporter"} == 0 or drillyard_gateway_log_readable == 0',
        Window("1m", "5s"),
        Window("1m", "2s"),
        "page",
        "Latency and failures are not measured: the exporter is down or cannot read a gateway's log.",
        ("up", "drillyard_gateway_log_readable"),
    ),
    Rule(
        "FailuresHigh",
        _FAILING,
        Window("1m", "10s"),
        Window("2m", "3s"),
        "page",
        "More than 1 % of the requests fail, just now.",
        (_FAILURES, _REQUESTS),
        share=0.01,
    ),
    Rule(
        "FailuresHighSlow",
        _FAILING,
        Window("5m", "30s"),
        Window("0s", "0s"),
        "page",
        "More than 1 % of the requests failed, over the longer window: failures that come and go.",
        (_FAILURES, _REQUESTS),
        share=0.01,
    ),
    Rule(
        "E2eP95High",
        f"{_quantile(0.95, _E2E)} > {E2E_P95_MAX_S:g}",
        Window("1m", "10s"),
        Window("2m", "3s"),
        "page",
        "End to end, p95 is above 8 s.",
        (f"{_E2E}_bucket",),
        share=0.05,
    ),
    Rule(
        "E2eP50High",
        f"{_quantile(0.5, _E2E)} > 5",
        Window("2m", "10s"),
        Window("5m", "5s"),
        "ticket",
        "End to end, p50 is above 5 s.",
        (f"{_E2E}_bucket",),
        share=0.5,
    ),
    Rule(
        "ExecutionP95High",
        f"{_quantile(0.95, _EXECUTION)} > {EXECUTION_P95_MAX_S:g}",
        Window("2m", "10s"),
        Window("5m", "5s"),
        "page",
        "Without the gateways' queues, p95 is above 5 s.",
        (f"{_EXECUTION}_bucket",),
        share=0.05,
    ),
    Rule(
        "TtftP95High",
        f"{_quantile(0.95, _TTFT)} > {TTFT_P95_MAX_S:g}",
        Window("1m", "10s"),
        Window("2m", "3s"),
        "page",
        "The first token comes later than 800 ms (p95, at the engine).",
        (f"{_TTFT}_bucket",),
        share=0.05,
    ),
    Rule(
        "QueueP50High",
        f"{_quantile(0.5, _GATEWAY_QUEUE)} > 2 or {_quantile(0.5, _ENGINE_QUEUE)} > 2"
        f" or {_quantile(0.5, _GATEWAY_QUEUE)} + {_quantile(0.5, _ENGINE_QUEUE)} > 2",
        Window("2m", "10s"),
        Window("5m", "5s"),
        "ticket",
        "Half of the requests wait more than 2 s in the queues of gateways and engines.",
        (f"{_GATEWAY_QUEUE}_bucket", f"{_ENGINE_QUEUE}_bucket"),
        share=0.5,
    ),
    Rule(
        "QueueSaturated",
        f"{_QUEUE_FULL} or sum by (component) (rate(vllm:admission_rejections_total[$window])) > 0",
        Window("1m", "10s"),
        Window("1m", "3s"),
        "page",
        "A queue is full: a gateway's, or a replica that refuses requests.",
        (_QUEUE_FULL, "vllm:admission_rejections_total"),
        share=0.0,
    ),
    Rule(
        "KvCacheNearlyFull",
        "max by (component) (vllm:kv_cache_usage_perc) > 0.9",  # one alert of a replica with several engines
        Window("1m", "5s"),
        Window("2m", "5s"),
        "ticket",
        "The KV cache is more than 90 % full: requests are about to be preempted.",
        ("vllm:kv_cache_usage_perc",),
    ),
    Rule(
        "MemoryLow",
        "drillyard_memory_available_bytes / drillyard_memory_total_bytes < 0.1",
        Window("1m", "5s"),
        Window("1m", "3s"),
        "page",
        "Less than 10 % of the memory is available.",
        ("drillyard_memory_available_bytes", "drillyard_memory_total_bytes"),
        of="machine",
    ),
    Rule(
        "OutOfMemoryKill",
        "increase(drillyard_oom_kills_total[$window]) > 0",
        Window("5m", "30s"),
        Window("0s", "0s"),
        "page",
        "The kernel killed a process for memory.",
        ("drillyard_oom_kills_total",),
        of="machine",
        share=0.0,
    ),
    Rule(
        "TpsDrop",
        f"{_TPS} < 0.5 * {_USUAL_TPS}",
        Window("5m", "10s"),
        Window("5m", "5s"),
        "ticket",
        "A stream gets less than half of the tokens per second that were usual before.",
        (f"{_GAP}_count", f"{_GAP}_sum"),
    ),
    Rule(
        "DailyTokenSpend",
        "sum(increase(vllm:prompt_tokens_total[$window])) + sum(increase(vllm:generation_tokens_total[$window]))"
        " > $budget",
        Window("1d", "60s"),
        Window("0s", "0s"),
        "ticket",
        "More tokens than a day's budget (in the drill's scale: than its window's share of it).",
        ("vllm:prompt_tokens_total", "vllm:generation_tokens_total"),
    ),
)  # fmt: skip


BY_NAME: Mapping[str, Rule] = {rule.name: rule for rule in RULES}


def rule_file(
    scale: Scale, policy: GatewayPolicy, gateways: Iterable[GatewayConditions], missing: Set[str] = frozenset()
) -> dict[str, Any]:
    """The rule file's content as data, over these kinds of gateways; without the rules called ``missing``: a defect."""
    kinds = list(gateways)
    rules = [rule.over(kinds).data(scale, policy) for rule in RULES if rule.name not in missing]
    return {"groups": [{"name": f"drillyard-{scale}", "interval": f"{EVALUATION_S[scale]}s", "rules": rules}]}
