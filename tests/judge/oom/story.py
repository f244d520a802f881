"""The synthetic run of an oom drill in which everything went as it should."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.evidence.record import ANY_REPLICA
from harness.faults.workloads.oversized import Oversized, asks
from harness.model.scenario import Scenario
from tests import runs
from tests.runs import E2E_MS, POLICY, TOPOLOGY, Row, Run, Sample, Spans

OVERSIZED, LONG, OOM = "oversized", "long", "oom"
KILLED = TOPOLOGY.replicas[1]
#: Seconds after the injection of the limit: killed, ready again, used again.
_KILLED_S, _READY_S, _BACK_S = 0.3, 6.0, 8.5
_MIB = 1024.0**2


def healthy() -> Run:
    """A fresh copy of it."""
    run = runs.healthy(_OOM_STORY)
    run.plan["topology"] = {"instance": TOPOLOGY.instance, "models": {}, "kv_cache_bytes": 64 * 2**20}
    spans = {event["phase"]: run.span(event["phase"]) for event in run.events if event["kind"] == "phase_started"}
    run.events = sorted([*run.events, *_told(spans)], key=lambda event: event["t_s"])
    return run


def widened() -> Run:
    """The same with the gateways' cap on long contexts lifted: the KV cache of replica-1 is full, two are preempted."""
    run = healthy()
    long = next(phase for phase in run.plan["scenario"]["phases"] if phase["name"] == LONG)
    long["faults"].append({"type": "widened", "on": "gateway-a", "options": {"connections": 6}})
    told = [event for event in run.events if event.get("fault") == f"{LONG}/long_contexts/gateway-a"]
    another = {"fault": f"{LONG}/widened/gateway-a", "type": "widened"}
    run.events += [
        {**event, **another} for event in told if event["kind"] not in ("ask", "fault_step", "fault_proven_again")
    ]
    runs.recorded_today(run, Scenario.stored(run.plan["scenario"]))
    begin, end = run.span(LONG)
    mine = run.metrics["component"].eq(TOPOLOGY.replicas[0])
    full = mine & run.metrics["metric"].eq("kv_usage_ratio") & run.metrics["t_s"].between(begin + 5, end)
    run.metrics.loc[full, "value"] = 0.98
    counted = mine & run.metrics["metric"].eq("preemptions_total") & run.metrics["t_s"].ge(begin + 5)
    run.metrics.loc[counted, "value"] = 2.0
    return run


def _met_the_limits(row: Row, number: int, spans: Spans, rng: random.Random) -> Row:
    """Users notice nothing but the death of a replica, whose streams break and are asked for again."""
    start, late_s = row["start_s"], row["start_s"] - row["intended_start_s"]
    killed_s, back_s = spans[OOM][0] + _KILLED_S, spans[OOM][0] + _BACK_S
    found = row | runs.answered(number, late_s, rng.uniform(0, 60))
    if killed_s - E2E_MS / 1000 < start < killed_s and found["replica"] == KILLED and row["attempt"] == 1:
        return row | {
            "outcome": "broken_stream",
            "subtype": "fin",
            "http_status": 200,
            "replica": KILLED,
            "gateway_replica": KILLED,
            "queue_gateway_ms": 0.0,
            "headers_ms": 10.0,
            "e2e_ms": (killed_s - start) * 1000 + 5,
            "content_events": 0,
        }
    if start < back_s and start >= killed_s - E2E_MS / 1000:
        found["replica"] = found["gateway_replica"] = TOPOLOGY.replicas[0]
    return found


def _metrics(spans: Spans, requests: pd.DataFrame) -> Iterator[Sample]:
    """5 Hz samples of replicas and gateways."""
    ended = runs.ended_s(requests)
    end = max(e for _, e in spans.values())
    begun = spans[OOM][0]
    for step in range(int((end + 4) * 5)):
        t_s = step / 5
        yield t_s, "load", "cpu_ratio", "", 0.2
        for replica in TOPOLOGY.replicas:
            mine = replica == KILLED
            away = mine and begun + _KILLED_S <= t_s < begun + _READY_S
            out = mine and begun + 1.5 <= t_s < begun + _BACK_S
            if not away:
                yield from _replica(
                    t_s, replica, spans, ended[replica], since_s=begun if mine and t_s >= begun + 1 else 0.0
                )
            yield t_s, replica, "up", "", float(not away)
            yield t_s, replica, "restarts_total", "", float(mine and t_s >= begun + 1)
            for gateway in TOPOLOGY.gateways:
                yield t_s, gateway, "server_up", f"server={replica}", float(not out)
        for gateway in TOPOLOGY.gateways:
            yield t_s, gateway, "up", "", 1.0
            waits = gateway == TOPOLOGY.gateways[0] and spans[LONG][0] <= t_s < spans[LONG][1] - 1
            yield t_s, gateway, "queue_current", "", 8.0 if waits else 0.0
        yield from runs.own_tokens(t_s, ANY_REPLICA, 0.0)


def _replica(
    t_s: float, replica: str, spans: Spans, ended: npt.NDArray[np.float64], since_s: float
) -> Iterator[Sample]:
    """One replica, and when its attempts ended; its counters began anew ``since_s``."""
    pressed = spans[LONG][0] <= t_s < spans[LONG][1]
    yield t_s, replica, "kv_usage_ratio", "", 0.55 if pressed else 0.02
    yield t_s, replica, "preemptions_total", "", 0.0
    yield t_s, replica, "waiting", "", 0.0
    yield t_s, replica, "rss_bytes", "", (80.0 if t_s >= spans[LONG][0] else 70.0) * _MIB
    own = float(int(t_s / 2))
    lost = float(int(since_s / 2)) if since_s else 0.0
    made = int(np.searchsorted(ended, t_s) - np.searchsorted(ended, since_s)) * runs.TOKENS
    yield t_s, replica, "generation_tokens_total", "", made + own - lost
    yield from runs.own_tokens(t_s, replica, own)


def _told(spans: Spans) -> Iterator[Row]:
    """What the faults told: each ask, and the steps of the kill."""
    begin = spans[OVERSIZED][0]
    for number, one in enumerate(asks(POLICY, TOPOLOGY.max_model_len, 8576)):
        yield {"t_s": begin + 0.1 + 0.5 * number, "kind": "ask", "must": "be refused", **_refusal(one, number)}
    begin = spans[LONG][0]
    sized = {"fault": f"{LONG}/long_contexts/gateway-a", "phase": LONG, "on": "gateway-a", "step": "sized"}
    yield {"t_s": begin + 0.5, "kind": "fault_step", **sized, "asks": 16, "cache_tokens": 8576}
    for number in range(40):
        reply = _served() if number % 3 == 0 else _shed()
        yield {"t_s": begin + 1 + 0.4 * number, "kind": "ask", "must": "be served", **reply}
    begin = spans[OOM][0]
    of_fault = {"kind": "fault_step", "fault": f"{OOM}/oom/{KILLED}", "phase": OOM, "on": KILLED}
    yield {"t_s": begin + 0.02, **of_fault, "step": "killing"}
    yield {"t_s": begin + _KILLED_S, **of_fault, "step": "killed", "oom_kills": 1, "emulated": None}
    yield {"t_s": begin + _KILLED_S + 0.01, **of_fault, "step": "limit_lifted"}
    yield {"t_s": begin + _READY_S, **of_fault, "step": "ready"}
    yield {"t_s": begin + _READY_S + 0.2, **of_fault, "step": "first_token", "took_ms": 200.0}


def _refusal(one: Oversized, number: int) -> Row:
    engine = number >= 19
    return {
        "fault": f"{OVERSIZED}/oversized/gateway-a", "phase": OVERSIZED, "on": "gateway-a", "name": one.name,
        "names": list(one.names), "outcome": "refused", "took_s": 0.01, "status": 400,
        "layer": "engine" if engine else "gateway", "replica": "replica-1" if engine else None, "code": "too_large",
        "type": "invalid_request_error", "message": f"The limit is named: {', '.join(one.names)}.",
        "retry_after_s": None, "finish_reason": None, "prompt_tokens": None, "output_tokens": None,
    }  # fmt: skip


def _of_long(**fields: object) -> Row:
    return {
        "fault": f"{LONG}/long_contexts/gateway-a", "phase": LONG, "on": "gateway-a", "name": "a long context",
        "asked_tokens": 256, "code": None, "type": None, "message": None, "retry_after_s": None, "finish_reason": None,
        "prompt_tokens": None, "output_tokens": None, "replica": None, **fields,
    }  # fmt: skip


def _served() -> Row:
    return _of_long(
        outcome="whole", took_s=4.0, status=200, layer="engine", replica="replica-1", finish_reason="length",
        prompt_tokens=1433, output_tokens=256,
    )  # fmt: skip


def _shed() -> Row:
    return _of_long(
        outcome="refused", took_s=0.1, status=503, layer="gateway", code="long_queue_full", type="overloaded_error",
        message="Long prompts have a queue of their own. Try again.", retry_after_s=1.0,
    )  # fmt: skip


_OOM_STORY = runs.Story("oom", _met_the_limits, _metrics)
