"""For every alert rule: what it must fire at, and what comes close and must leave it silent.

Series are given as what they do: ``Level`` stays at a value, ``Rate`` counts so much a second. From these and a rule's
own windows ``unit_test`` makes a file for ``promtool test rules``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.model.alert_rules import DAILY_TOKENS, GATEWAY_BUCKETS_S, Rule, Scale
from harness.model.topology import GatewayPolicy


@dataclass(frozen=True)
class Level:
    """A gauge at that value."""

    value: float


@dataclass(frozen=True)
class Rate:
    """A counter that grows so much a second."""

    per_second: float


Series = Mapping[str, Level | Rate]


@dataclass(frozen=True)
class Bad:
    """One way to make a rule fire: what changes, and the labels of the alert that comes of it."""

    change: Series
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One rule: ``usual`` before anything happens, ``bad`` ways to fire, ``nearly`` changes that must not."""

    usual: Series
    bad: tuple[Bad, ...]
    nearly: tuple[Series, ...]


def histogram(name: str, **per_second: float) -> Series:
    """Ten observations a second by how long they took: ``s_10=1, s_0_5=9``."""
    total = sum(per_second.values())
    took = {float(text.removeprefix("s_").replace("_", ".")): rate for text, rate in per_second.items()}
    bounds = {f"{bound:g}": sum(rate for s, rate in took.items() if s <= bound) for bound in GATEWAY_BUCKETS_S}
    return {f'{name}_bucket{{le="{le}"}}': Rate(rate) for le, rate in {**bounds, "+Inf": total}.items()}


def replica_up(value: int) -> Series:
    """Prometheus' scrape of a replica."""
    return {'up{job="replica",component="replica-2"}': Level(value)}


def failures(per_second: float, of: float = 100) -> Series:
    """Failures among so many requests a second."""
    return {"drillyard_gateway_failures_total": Rate(per_second), "drillyard_gateway_requests_total": Rate(of)}


def failing(few: float) -> Case:
    """More than 1 % fail; silent at fewer, without requests, and when hardly anybody asks: ``few`` failures a second
    of one request a second are more than 1 %, and fewer than five in the production window.
    """
    silent = (failures(0.9), {**failures(0), **{"up": Level(1)}}, failures(few, of=1))
    return Case(failures(0), (Bad(failures(1.5)), Bad(failures(0.6, of=10))), silent)


def latency(name: str, limit_s: int, quantile: int) -> Case:
    """A quantile above its limit when a few requests too many are too slow; silent when as many are fewer."""
    slow, fast = f"s_{limit_s * 2}", "s_0_2"
    enough, few = 100 - quantile + 2, 100 - quantile - 2
    return Case(
        usual=histogram(name, **{slow: 0, fast: 100}),
        bad=(Bad(histogram(name, **{slow: enough, fast: 100 - enough})),),
        nearly=(
            histogram(name, **{slow: few, fast: 100 - few}),
            histogram(name, **{f"s_{limit_s - 1}": 100}),
            histogram(name, s_1=0),  # no requests: no quantile, no alert
        ),
    )


def memory(scope: str, available: float) -> Series:
    """So many of a hundred bytes are left."""
    labels = f'{{scope="{scope}"}}'
    return {
        f"drillyard_memory_available_bytes{labels}": Level(available),
        f"drillyard_memory_total_bytes{labels}": Level(100),
    }


def engines(*kv_usage: float) -> Series:
    """How full the KV cache of each engine of one replica is."""
    name = "vllm:kv_cache_usage_perc"
    return {f'{name}{{component="replica-1",engine="{n}"}}': Level(share) for n, share in enumerate(kv_usage)}


def stream(tokens_per_second: float, streams: float = 1) -> Series:
    """``streams`` that run side by side, at that speed each."""
    name = "vllm:inter_token_latency_seconds"
    return {f"{name}_count": Rate(tokens_per_second * streams), f"{name}_sum": Rate(streams)}


def spend(of_budget: float) -> Series:
    """Tokens in proportion to the daily budget, a fifth of them prompts."""
    per_second = DAILY_TOKENS / 86400 * of_budget
    return {
        "vllm:prompt_tokens_total": Rate(per_second * 0.2),
        "vllm:generation_tokens_total": Rate(per_second * 0.8),
    }


_TTFT, _GATEWAY_QUEUE = "vllm:time_to_first_token_seconds", "drillyard_gateway_queue_seconds"
_ENGINE_QUEUE = "vllm:request_queue_time_seconds"
_TAKEN_OUT = 'haproxy_server_status{proxy="replicas",state="UP",server="replica-2",component="gateway-a"}'
_DEAF = 'drillyard_synthetic_ok{job="exporter",component="exporter",replica="replica-2"}'
_READABLE = 'drillyard_gateway_log_readable{gateway="gateway-a"}'
_QUEUED = 'haproxy_backend_current_queue{proxy="replicas",component="gateway-a"}'
_REFUSED = 'vllm:admission_rejections_total{component="replica-1",reason="max_num_queued_reqs"}'
_QUEUES_IDLE = {**histogram(_GATEWAY_QUEUE, s_0_05=10), **histogram(_ENGINE_QUEUE, s_0_05=10)}

CASES: Mapping[str, Case] = {
    "ReplicaDown": Case(
        usual={**replica_up(1), _TAKEN_OUT: Level(1)},
        bad=(
            Bad(replica_up(0), {"job": "replica", "component": "replica-2"}),
            Bad({_TAKEN_OUT: Level(0)}, {"server": "replica-2"}),
        ),
        nearly=({'up{job="exporter",component="exporter"}': Level(0)},),
    ),
    "ReplicaDeaf": Case(
        usual={**replica_up(1), _DEAF: Level(1)},
        bad=(Bad({_DEAF: Level(0)}, {"job": "exporter", "component": "replica-2", "replica": "replica-2"}),),
        nearly=({_DEAF: Level(0), **replica_up(0)},),  # down, which is another alert
    ),
    "GatewayDown": Case(
        usual={'up{job="gateway",component="gateway-a"}': Level(1)},
        bad=(
            Bad({'up{job="gateway",component="gateway-a"}': Level(0)}, {"job": "gateway", "component": "gateway-a"}),
        ),
        nearly=(replica_up(0),),
    ),
    "ExporterDown": Case(
        usual={'up{job="exporter"}': Level(1), _READABLE: Level(1)},
        bad=(
            Bad({'up{job="exporter"}': Level(0)}, {"job": "exporter"}),
            Bad({_READABLE: Level(0)}, {"gateway": "gateway-a"}),
        ),
        nearly=(replica_up(0),),
    ),
    "FailuresHigh": failing(few=4 / 60),
    "FailuresHighSlow": failing(few=4 / 300),
    "E2eP95High": latency("drillyard_gateway_e2e_seconds", 8, 95),
    "E2eP50High": latency("drillyard_gateway_e2e_seconds", 5, 50),
    "ExecutionP95High": latency("drillyard_gateway_execution_seconds", 5, 95),
    "TtftP95High": Case(
        usual=histogram(_TTFT, s_0_2=100),
        bad=(Bad(histogram(_TTFT, s_1_5=10, s_0_2=90)),),
        nearly=(histogram(_TTFT, s_1_5=3, s_0_2=97), histogram(_TTFT, s_0_4=100)),
    ),
    "QueueP50High": Case(
        usual=_QUEUES_IDLE,
        bad=(
            Bad(histogram(_GATEWAY_QUEUE, s_4=6, s_0_05=4)),
            Bad(histogram(_ENGINE_QUEUE, s_4=6, s_0_05=4)),
            Bad({**histogram(_GATEWAY_QUEUE, s_1_5=10), **histogram(_ENGINE_QUEUE, s_1_5=10)}),
        ),
        nearly=(
            histogram(_GATEWAY_QUEUE, s_4=4, s_0_05=6),
            {**histogram(_GATEWAY_QUEUE, s_0_8=10), **histogram(_ENGINE_QUEUE, s_0_8=10)},
        ),
    ),
    "QueueSaturated": Case(
        usual={_QUEUED: Level(0), _REFUSED: Rate(0)},
        bad=(
            Bad({_QUEUED: Level(GatewayPolicy().queue_max)}, {"proxy": "replicas", "component": "gateway-a"}),
            Bad({_REFUSED: Rate(0.5)}, {"component": "replica-1"}),
        ),
        nearly=({_QUEUED: Level(GatewayPolicy().queue_max * 0.8)},),
    ),
    "KvCacheNearlyFull": Case(
        usual={'vllm:kv_cache_usage_perc{component="replica-1"}': Level(0.2)},
        bad=(
            Bad({'vllm:kv_cache_usage_perc{component="replica-1"}': Level(0.95)}, {"component": "replica-1"}),
            Bad(engines(0.2, 0.95), {"component": "replica-1"}),
        ),
        nearly=({'vllm:kv_cache_usage_perc{component="replica-1"}': Level(0.89)}, engines(0.6, 0.7)),
    ),
    "MemoryLow": Case(
        usual={**memory("machine", 50), **memory("cgroup", 50)},
        bad=(Bad(memory("machine", 9), {"scope": "machine"}), Bad(memory("cgroup", 1), {"scope": "cgroup"})),
        nearly=(memory("machine", 11),),
    ),
    "OutOfMemoryKill": Case(
        usual={"drillyard_oom_kills_total": Level(3)},
        bad=(Bad({"drillyard_oom_kills_total": Level(4)}),),
        nearly=({"drillyard_oom_kills_total": Level(3)},),
    ),
    "TpsDrop": Case(
        usual=stream(100, streams=4),
        bad=(Bad(stream(45, streams=4)), Bad(stream(45, streams=8))),
        nearly=(stream(60, streams=4), stream(100, streams=1), stream(0, streams=0)),
    ),
    "DailyTokenSpend": Case(usual=spend(0.9), bad=(Bad(spend(1.2)),), nearly=(spend(0.98),)),
}  # fmt: skip


def unit_test(rule: Rule, case: Case, scale: Scale, rules_file: str) -> dict[str, Any]:
    """The content of a file for ``promtool test rules``: every bad and every nearly bad change, at its time.

    A change comes when all windows are full of what is usual. Just before, and until ``hold`` is over, the alert is
    silent; when ``window`` and ``hold`` are over it fires, with exactly these labels.
    """
    timeline = Timeline.of(rule, scale)
    fixed = {"severity": rule.severity, "scale": scale}
    annotations = {"summary": rule.summary, "series": ", ".join(rule.series)}
    tests = []
    for bad in case.bad:
        alert = {"exp_labels": {**fixed, **bad.labels}, "exp_annotations": annotations}
        expected = dict.fromkeys(timeline.silent_s, ()) | {timeline.end_s: (alert,)}
        tests.append(timeline.test(rule.name, case.usual, bad.change, expected))
    for change in case.nearly:
        tests.append(timeline.test(rule.name, case.usual, change, {timeline.end_s: ()}))
    return {"rule_files": [rules_file], "evaluation_interval": f"{timeline.step_s}s", "tests": tests}


@dataclass(frozen=True)
class Timeline:
    """When things happen in a test of one rule, in seconds; everything falls on a step."""

    step_s: int
    change_s: int
    silent_s: tuple[int, ...]
    end_s: int

    @classmethod
    def of(cls, rule: Rule, scale: Scale) -> Timeline:
        """Long enough for the rule's windows, in steps that its own evaluation would make, or a hundred a window."""
        window_s, hold_s = rule.window.seconds(scale), rule.hold.seconds(scale)
        step_s = max(1 if scale == "drill" else 15, window_s // 96)
        before_s = rule.before.seconds(scale) if "$before" in rule.expression else 0
        change_s = _whole(before_s + 2 * window_s, step_s)
        within_hold_s = _whole(change_s + hold_s - step_s, step_s) if hold_s > step_s else change_s
        return cls(step_s, change_s, (change_s, within_hold_s), _whole(change_s + window_s + hold_s, step_s))

    def test(self, name: str, usual: Series, change: Series, expected: Mapping[int, Any]) -> dict[str, Any]:
        """One test: ``usual``, then ``change`` in its place; the alerts ``expected`` by time."""
        series = {**dict.fromkeys(change, None), **usual}
        return {
            "interval": f"{self.step_s}s",
            "input_series": [
                {"series": key, "values": " ".join(self._values(first, change.get(key, first)))}
                for key, first in series.items()
            ],
            "alert_rule_test": [
                {"eval_time": f"{at_s}s", "alertname": name, "exp_alerts": list(alerts)}
                for at_s, alerts in expected.items()
            ],
        }

    def _values(self, first: Level | Rate | None, then: Level | Rate | None) -> Iterator[str]:
        count = 0.0
        for at_s in range(0, self.end_s + 1, self.step_s):
            now = first if at_s <= self.change_s else then
            match now:
                case Level(value):
                    yield f"{value:g}"
                case Rate(per_second):
                    count += per_second * self.step_s
                    yield f"{count:.6f}"
                case None:
                    yield "_"


def _whole(seconds: int, step_s: int) -> int:
    return -(-seconds // step_s) * step_s
