"""Synthetic run folders of the timeout-spike drill, written as real ones are: healthy, then edited by the tests."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness import drill, loading, phases
from harness.record import ANY_REPLICA, METRIC_COLUMNS, REQUEST_COLUMNS, SCHEMA_VERSION, Event, RunFolder
from harness.scenario import Scenario
from stack.topology import GATEWAYS, REPLICAS, GatewayPolicy, Topology

ROOT = Path(__file__).resolve().parent.parent
RATE_PER_S = 5.0
POLICY = GatewayPolicy()
_TTFT_MS, _E2E_MS, _TOKENS = 200.0, 700.0, 31


@dataclass
class Run:
    """A run in memory; tests change its parts before they write it."""

    plan: dict[str, Any]
    events: list[dict[str, Any]]
    requests: pd.DataFrame
    metrics: pd.DataFrame
    summary: dict[str, Any]

    def write(self, path: Path) -> RunFolder:
        """The run as a folder at ``path``."""
        path.mkdir(parents=True, exist_ok=True)
        folder = RunFolder(path)
        folder.write_json("plan.json", self.plan)
        folder.write_json("load-summary.json", self.summary)
        (path / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in self.events))
        for name, frame, schema in (
            ("requests", self.requests, REQUEST_COLUMNS),
            ("metrics", self.metrics, METRIC_COLUMNS),
        ):
            table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
            pq.write_table(table, path / f"{name}.parquet", write_page_checksum=True)
        return folder

    def span(self, phase: str) -> tuple[float, float]:
        """Start and end of a phase in seconds."""
        kinds = ("phase_started", "phase_ended")
        begin, end = (next(e["t_s"] for e in self.events if e["kind"] == k and e["phase"] == phase) for k in kinds)
        return begin, end

    def in_phase(self, phase: str) -> pd.Series:
        """Marks the attempts of the requests that were meant to start in ``phase``."""
        begin, end = self.span(phase)
        return self.requests["intended_start_s"].between(begin, end)

    def drop_events(self, *kinds: str, **data: Any) -> None:
        """Forget all events of these kinds whose data match."""
        self.events = [e for e in self.events if e["kind"] not in kinds or any(e.get(k) != v for k, v in data.items())]

    def recount(self) -> None:
        """Make the summary agree with the requests, as a generator that lost nothing would."""
        final = self.requests[self.requests["final"]]
        self.summary["scheduled_requests"], self.summary["attempts"] = len(final), len(self.requests)
        self.summary["outcomes_final"] = final["outcome"].value_counts().to_dict()
        self.summary["outcomes_attempts"] = self.requests["outcome"].value_counts().to_dict()


def healthy() -> Run:
    """A fresh copy of a run in which the service did all that the drill asks for."""
    return copy.deepcopy(_healthy())


def healthy_run(path: Path) -> RunFolder:
    """``healthy()`` written at ``path``."""
    return healthy().write(path)


def scenario() -> Scenario:
    """The scenario that all these runs have practised."""
    return loading.load(ROOT / "scenarios" / "timeout-spike.yaml")


@functools.cache
def _healthy() -> Run:
    practised = scenario()
    events = list(_events(practised))
    kinds = {p.name: p.kind for p in practised.phases}
    run = Run(_plan(practised), events, pd.DataFrame(), pd.DataFrame(), {})
    spans = {p: run.span(p) for p in kinds}
    rows = [row for request in _requests(spans) for row in request]
    frame = pd.DataFrame(rows, columns=REQUEST_COLUMNS.names)
    stamped = [Event(e["t_s"], e["kind"], {k: v for k, v in e.items() if k not in ("t_s", "kind")}) for e in events]
    run.requests = phases.assign(frame, phases.spans(stamped, kinds))
    run.metrics = pd.DataFrame(_metrics(spans, run.requests), columns=METRIC_COLUMNS.names)
    run.summary = {
        "in_flight_at_end": 0,
        "cpu_ratio": 0.2,
        "schedule_lag_p99_ms": 2.0,
        "achieved_rate_per_s": RATE_PER_S,
        "planned_rate_per_s": RATE_PER_S,
        "workers": 1,
    }
    run.recount()
    return run


def _plan(scenario: Scenario) -> dict[str, Any]:
    practised = drill.load("timeout-spike")
    return {
        "schema": SCHEMA_VERSION,
        "run_id": "2026-01-01T00-00-00-timeout-spike",
        "drill": "timeout-spike",
        "title": practised.title,
        "hypothesis": practised.hypothesis,
        "runbook": practised.runbook,
        "scenario": scenario.model_dump(mode="json"),
        "seed": 1,
        "versions": {"vllm": "0.32"},
        "git": {"commit": "0" * 40, "dirty": False},
        "runtime": "process",
        "engine": "sim",
        "instance": 17,
        "topology": {"instance": 17, "models": {}},
        "gateway_policy": dataclasses.asdict(POLICY),
        "command": "python -m harness run timeout-spike",
        "anchor": {"mono_s": 0.0, "wall": "2026-01-01T00:00:00+00:00"},
    }


def _events(scenario: Scenario) -> Iterator[dict[str, Any]]:
    """What conduct records, at the times at which it does."""
    topology, t_s = Topology(instance=17), 1.0
    yield {"t_s": 0.5, "kind": "load_started"}
    for i, phase in enumerate(scenario.phases):
        links = [
            (f"{phase.name}/{spec.type}/{link.name}", link.name)
            for spec in phase.faults
            for link in topology.links
            if link.source != "client" and (phase.name == "all-replicas" or link.target == "replica-2")
        ]

        def fault(kind: str, at_s: float, links: Any = links, phase: Any = phase) -> Iterator[dict[str, Any]]:
            for id, on in links:
                yield {"t_s": at_s, "kind": kind, "fault": id, "phase": phase.name, "on": on, "why": "it was seen"}

        yield {"t_s": t_s, "kind": "phase_started", "phase": phase.name, "phase_kind": phase.kind}
        yield from fault("fault_injecting", t_s + 0.01)
        yield from fault("fault_injected", t_s + 0.05)
        yield from fault("fault_proven", t_s + 4.0)
        t_s += phase.duration
        yield from fault("fault_healing", t_s)
        yield from fault("fault_healed", t_s + 0.05)
        yield {"t_s": t_s + 0.06, "kind": "phase_ended", "phase": phase.name}
        yield from fault("heal_proven", t_s + 0.5)
        following = scenario.phases[i + 1].kind if i + 1 < len(scenario.phases) else "fault"
        if following == "fault" and phase.kind != "warmup":
            yield {"t_s": t_s + 0.07, "kind": "steady_state", "phase": phase.name, "reached": True, "why": "all fine"}
        t_s += 0.1
    yield {"t_s": t_s + 1.0, "kind": "load_stopped"}


def _requests(spans: dict[str, tuple[float, float]]) -> Iterator[list[dict[str, Any]]]:
    rng = random.Random(7)
    end = max(e for _, e in spans.values())
    for number in itertools.count():
        intended = 0.55 + number / RATE_PER_S
        if intended > end:
            return
        yield _request(number, intended, spans, rng)


def _request(
    number: int, intended: float, spans: dict[str, tuple[float, float]], rng: random.Random
) -> list[dict[str, Any]]:
    """Attempts until one works or three have failed."""
    rows: list[dict[str, Any]] = []
    start, delay = intended + rng.uniform(0, 0.002), None
    for attempt in range(1, 4):
        row = _attempt(number, attempt, intended, start, spans, rng)
        row["retry_delay_ms"] = delay
        rows.append(row)
        if row["outcome"] == "ok":
            break
        delay = 1000.0 * (row["retry_after_s"] or 0) + rng.uniform(0, min(3000.0, 300.0 * 2 ** (attempt - 1)))
        start += row["e2e_ms"] / 1000 + delay / 1000
    rows[-1]["final"] = True
    return rows


def _attempt(
    number: int, attempt: int, intended: float, start: float, spans: dict[str, tuple[float, float]], rng: random.Random
) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(REQUEST_COLUMNS.names)
    row |= {
        "request_id": f"r{number:05}",
        "attempt": attempt,
        "final": False,
        "user_id": f"user-{number % 20:03}",
        "cohort": "chat",
        "deployment": "drillyard",
        "gateway": "127.0.17.111",
        "intended_start_s": intended,
        "start_s": start,
        "schedule_lag_ms": (start - intended) * 1000 if attempt == 1 else None,
        "first_byte_sent_s": start + 0.001,
        "max_tokens": 48,
        "prompt_chars": 40,
        "prompt_hash": f"p{number % 64}",
    }
    dead_from, dead_to = spans["all-replicas"]
    if dead_from - 0.3 <= start < dead_to:
        return row | _refused(row["request_id"], 3000.0 if start < dead_from + 5 else 5.0)
    slow_from, _ = spans["one-replica"]
    waited = 3000.0 if slow_from <= start < slow_from + 4 and number % 2 else 0.0
    return row | _answered(number, start - intended, waited + rng.uniform(0, 60))


def _refused(request_id: str, after_ms: float) -> dict[str, Any]:
    timed_out = after_ms > 1000
    return {
        "outcome": "http_5xx" if timed_out else "shed_503",
        "http_status": 504 if timed_out else 503,
        "gateway_replica": "replica-1" if timed_out else "",
        "gateway_retries": int(timed_out),
        "e2e_ms": after_ms,
        "e2e_from_schedule_ms": after_ms,
        "error_type": "upstream_error",
        "error_code": "upstream_timeout" if timed_out else "no_replica",
        "error_message": "No replica answered in time; try again in a second.",
        "error_request_id": request_id,
        "retry_after_s": 1.0,
    }


def _answered(number: int, late_s: float, extra_ms: float) -> dict[str, Any]:
    return {
        "outcome": "ok",
        "http_status": 200,
        "served_version": "v1@00000000",
        "replica": f"replica-{number % 2 + 1}",
        "headers_ms": 10.0 + extra_ms,
        "ttft_ms": _TTFT_MS + extra_ms,
        "ttft_from_schedule_ms": late_s * 1000 + _TTFT_MS + extra_ms,
        "e2e_ms": _E2E_MS + extra_ms,
        "e2e_from_schedule_ms": late_s * 1000 + _E2E_MS + extra_ms,
        "queue_gateway_ms": 0.0,
        "gateway_replica": f"replica-{number % 2 + 1}",
        "gateway_retries": int(extra_ms > 1000),
        "max_stall_ms": 30.0,
        "prompt_tokens": 12,
        "output_tokens": _TOKENS,
        "content_events": _TOKENS - 1,
        "finish_reason": "stop",
        "answer_chars": 80,
        "answer_hash": f"a{number % 64}",
        "answer_correct": True,
    }


def _metrics(spans: dict[str, tuple[float, float]], requests: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """5 Hz samples of what the requests must have done to replicas and gateways."""
    ok = requests[requests["outcome"] == "ok"]
    end = max(e for _, e in spans.values())
    one, every = spans["one-replica"], spans["all-replicas"]
    for step in range(int((end + 4) * 5)):
        t_s = step / 5
        dead = every[0] + 1 <= t_s < every[1]
        yield t_s, "load", "cpu_ratio", "", 0.2
        for n, replica in enumerate(REPLICAS, 1):
            done = int(((ok["start_s"] + ok["e2e_ms"] / 1000 < t_s) & (ok["replica"] == replica)).sum())
            yield t_s, replica, "up", "", 1.0
            yield t_s, replica, "running", "", 0.0 if dead else float(step % 3)
            yield t_s, replica, "waiting", "", 0.0
            yield t_s, replica, "kv_usage_ratio", "", 0.0 if dead else 0.02 * (step % 3)
            own = float(int(t_s / 2))
            yield t_s, replica, "generation_tokens_total", "", done * _TOKENS + own
            yield from _own_tokens(t_s, replica, own)
            down = (n == 2 and one[0] + 4 <= t_s < one[1] + 3) or every[0] + 4 <= t_s < every[1] + 3
            for gateway in GATEWAYS:
                share = int((requests["start_s"] < t_s).sum()) // 4
                yield t_s, gateway, "server_up", f"server={replica}", 0.0 if down else 1.0
                yield t_s, gateway, "server_sessions_total", f"server={replica}", float(share)
        for gateway in GATEWAYS:
            yield t_s, gateway, "up", "", 1.0
        yield from _own_tokens(t_s, ANY_REPLICA, 0.0)


def _own_tokens(t_s: float, replica: str, tokens: float) -> Iterator[tuple[Any, ...]]:
    """The harness asked for so many tokens until then and got them at once; the exporter asked for none."""
    for what in ("asked", "ended", "got"):
        yield t_s, replica, f"own_tokens_{what}_total", "by=harness", tokens
        yield t_s, replica, f"own_tokens_{what}_total", "by=exporter", 0.0
