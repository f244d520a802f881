"""Synthetic run folders, written as real ones are: healthy, then edited by the tests.

The parts that every run has are made here; what its faults did to requests and components is its drill's ``Story``,
tests/judge/<drill>/story.py.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import io
import itertools
import json
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.evidence import phases, records_kept, samples_kept
from harness.evidence.record import (
    FAULT_PRESENT,
    METRIC_COLUMNS,
    REQUEST_COLUMNS,
    SCHEMA_VERSION,
    Event,
    RunFolder,
    of_fault,
)
from harness.faults.base import fault_class, matching
from harness.judge import alert_times, alerts, drill, sampled, verdicts
from harness.judge.drill import Drill
from harness.model import arrivals, digest
from harness.model.alert_rules import BY_NAME, RULES, STACK_SCALE
from harness.model.arrivals import Draw
from harness.model.scenario import Retries, Scenario
from harness.model.topology import DNS_POLICY, GatewayPolicy, Topology
from harness.plan import loading, planned
from stack.stacks.vllm_haproxy import STACK

ROOT = Path(__file__).resolve().parent.parent
RATE_PER_S, OOM_RATE_PER_S = 5.0, 7.0
POLICY = GatewayPolicy()
TOPOLOGY = Topology(STACK, instance=17)
E2E_MS, TOKENS = 700.0, 31
#: When the schedule begins.
BEGAN_S = 0.55
_TTFT_MS = 200.0

#: Two cores with two busy replicas of ours.
QUIET_MACHINE = {
    "late_wakeup_ms": 24.0,
    "work_ratio": 1.2,
    "steal_ratio": 0.0,
    "busy_cores": 1.9,
    "ours_cores": 1.88,
    "others_cores": 0.02,
    "throttled_s_total": 0.0,
    "psi_cpu_some_ratio": 0.9,
    "cores": 2.0,
}

Row = dict[str, Any]
Sample = tuple[float, str, str, str, float]
Spans = dict[str, tuple[float, float]]

#: The latest tables of samples with the file and the summary that were written of each.
_WRITTEN: deque[tuple[pa.Table, bytes, dict[str, Any]]] = deque(maxlen=8)


@dataclass(frozen=True)
class Story:
    """What happened in the healthy run of a drill.

    ``attempt`` completes the row of an attempt: what it met when it was begun, and how it ended. ``metrics`` are all
    samples, given what the requests have done.
    """

    drill: str
    attempt: Callable[[Row, int, Spans, random.Random], Row]
    metrics: Callable[[Spans, pd.DataFrame], Iterator[Sample]]


@dataclass
class Run:
    """A run in memory; tests change its parts before they write it."""

    plan: dict[str, Any]
    events: list[dict[str, Any]]
    requests: pd.DataFrame
    metrics: pd.DataFrame
    summary: dict[str, Any]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # further ones, by name
    phases_stay: bool = False  # those of the requests: written as they are, not as the times say

    def write(self, path: Path) -> RunFolder:
        """The run as a folder at ``path``."""
        if not self.phases_stay:
            self.assign()
        path.mkdir(parents=True, exist_ok=True)
        folder = RunFolder(path)
        folder.write_json("plan.json", self.plan)
        begun = {"t_s": 0.0, "kind": "planned", "digest": digest.of_plan(folder.plan())}
        known = not self.events or any(event["kind"] == "planned" for event in self.events)
        events = self.events if known else [begun, *self.events]
        folder.write_json("load-summary.json", self.summary)
        for name, data in self.files.items():
            folder.write_json(name, data)
        (path / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
        table = pa.Table.from_pandas(self.requests, schema=REQUEST_COLUMNS, preserve_index=False)
        pq.write_table(table, path / "requests.parquet", write_page_checksum=True)
        self._write_samples(folder)
        if records_kept.FILE not in self.files:
            records_kept.seal(folder)
        return folder

    def _write_samples(self, folder: RunFolder) -> None:
        """The samples and their summary; made once of those that most tests leave as they are."""
        table = pa.Table.from_pandas(self.metrics, schema=METRIC_COLUMNS, preserve_index=False)
        known = next((one for one in _WRITTEN if one[0].equals(table)), None)
        if known is None:
            data = io.BytesIO()
            pq.write_table(table, data, write_page_checksum=True)
            own = pa.Table.from_pandas(self.metrics.copy(), schema=METRIC_COLUMNS, preserve_index=False)
            known = own, data.getvalue(), samples_kept.summary(self.metrics)  # numbers of ``table`` are the frame's
            _WRITTEN.appendleft(known)
        _, data_written, summary = known
        (folder.path / "metrics.parquet").write_bytes(data_written)
        if samples_kept.FILE not in self.files:
            folder.write_json(samples_kept.FILE, summary)

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

    def assign(self) -> None:
        """Give the requests the phases that the events say, as the end of a run does."""
        told = [Event(e["t_s"], e["kind"], e) for e in self.events if "t_s" in e]
        kinds = {phase["name"]: phase["kind"] for phase in self.plan["scenario"]["phases"]}
        assigned = phases.assign(self.requests, phases.spans(told, kinds)).astype(object)
        self.requests = self.requests.assign(**assigned.where(assigned.notna(), None))

    def recount(self) -> None:
        """Make the summary and what follows from other columns agree, as a generator that lost nothing would."""
        rows = self.requests
        ttft_ms, e2e_ms = rows["ttft_ms"].astype(float), rows["e2e_ms"].astype(float)
        unanswered = rows["outcome"].isin(("dns_error", "connect_error", "tls_error"))
        rows["http_status"] = rows["http_status"].astype(float).mask(unanswered)
        rows["headers_ms"] = rows["headers_ms"].astype(float).where(rows["http_status"].notna())
        for column in ("max_stall_ms", "content_events"):
            rows[column] = rows[column].astype(float).where(ttft_ms.notna())
        soonest_ms = ttft_ms + rows["max_stall_ms"].fillna(0)
        rows["e2e_ms"] = e2e_ms.mask(soonest_ms.gt(e2e_ms), soonest_ms)
        self._in_turn()
        for whole in ("ttft", "e2e"):
            late_ms = 1000 * (rows["start_s"] - rows["intended_start_s"])
            rows[f"{whole}_from_schedule_ms"] = rows[f"{whole}_ms"].astype(float) + late_ms.astype(float)
        self.count()

    def count(self) -> None:
        """Make the summary count the requests that there are."""
        final = self.requests[self.requests["final"]]
        self.summary["scheduled_requests"], self.summary["attempts"] = len(final), len(self.requests)
        self.summary["outcomes_final"] = final["outcome"].value_counts().to_dict()
        self.summary["outcomes_attempts"] = self.requests["outcome"].value_counts().to_dict()

    def _in_turn(self) -> None:
        """No attempt begins before the one before it has ended and its delay is over; the load ends after them all."""
        rows = self.requests
        again = rows["request_id"].isin(rows["request_id"][rows["attempt"].gt(1)])
        turns = rows[again].sort_values("attempt", kind="stable")
        columns = ("request_id", "start_s", "e2e_ms", "retry_delay_ms")
        free: dict[str, float] = {}
        moved: dict[int, tuple[float, float]] = {}
        for index, request, start, e2e_ms, delay_ms in zip(
            turns.index, *(turns[column].tolist() for column in columns), strict=True
        ):
            before = free.get(request)
            if before is not None:
                delay_ms = max(start - before, 0.0) * 1000 if pd.isna(delay_ms) else delay_ms
                start = max(start, before + delay_ms / 1000)
                moved[index] = (start, delay_ms)
            free[request] = start + e2e_ms / 1000
        if moved:
            rows.loc[list(moved), ["start_s", "retry_delay_ms"]] = list(moved.values())
        sent_ms = (rows["first_byte_sent_s"] - rows["start_s"]).astype(float) * 1000
        known_ms = rows["dns_ms"].astype(float).fillna(0) + rows["connect_ms"].astype(float).fillna(0)
        wrong = ~sent_ms.between(known_ms, rows["headers_ms"].fillna(rows["e2e_ms"]).astype(float)) & sent_ms.notna()
        rows.loc[wrong, "first_byte_sent_s"] = rows["start_s"] + known_ms / 1000
        ended_s = float((rows["start_s"] + rows["e2e_ms"].astype(float) / 1000).max())
        for stopped_s in [e["t_s"] for e in self.events if e["kind"] == "load_stopped" and e["t_s"] < ended_s]:
            for event in (e for e in self.events if e["t_s"] >= stopped_s):  # it, and what comes after it
                event["t_s"] += ended_s + 0.1 - stopped_s


def healthy(story: Story | None = None) -> Run:
    """A fresh copy of a run in which the service did all that the drill asks for; of timeout-spike by default."""
    from tests.judge.timeout_spike.story import TIMEOUT_SPIKE  # it is made of what stands here

    return copy.deepcopy(_healthy(story or TIMEOUT_SPIKE))


def healthy_run(path: Path) -> RunFolder:
    """``healthy()`` written at ``path``."""
    return healthy().write(path)


def scenario(name: str = "timeout-spike") -> Scenario:
    """The scenario that these runs have practised, on a machine to which its load was fitted so."""
    rate = OOM_RATE_PER_S if name.startswith("oom") else RATE_PER_S
    return loading.load(ROOT / "scenarios" / f"{name}.yaml", [f"load.rate={rate:g}/s", "load.arrivals=constant"])


def planned_run(name: str, practised: Scenario) -> Run:
    """A run of that drill with its plan and the events of its phases and faults; requests and samples are missing."""
    summary = {
        "in_flight_at_end": 0,
        "cpu_ratio": 0.2,
        "schedule_lag_p99_ms": 2.0,
        "achieved_rate_per_s": RATE_PER_S,
        "planned_rate_per_s": RATE_PER_S,
        "workers": 1,
    }
    return Run(_plan(name, practised), list(_events(practised)), pd.DataFrame(), pd.DataFrame(), summary)


@functools.cache
def _healthy(story: Story) -> Run:
    practised = scenario(drill.load(story.drill).scenario)
    run = planned_run(story.drill, practised)
    spans = {phase.name: run.span(phase.name) for phase in practised.phases}
    rows = [row for request in _requests(story, run.plan, spans) for row in request]
    frame = pd.DataFrame(rows, columns=REQUEST_COLUMNS.names)
    run.requests = frame
    run.assign()
    run.metrics = pd.DataFrame(story.metrics(spans, run.requests), columns=METRIC_COLUMNS.names)
    run.recount()
    add_surroundings(run)
    return run


def add_surroundings(run: Run) -> None:
    """What the requests have no part in: alerts, the machine, and all that nothing happened to."""
    add_presence(run)
    add_alerts(run, drill.load(run.plan["drill"]))
    add_machine(run)
    add_unremarkable(run)


@functools.cache
def _only_alerts(name: str) -> Run:
    practised = scenario(drill.load(name).scenario)
    events = list(_events(practised))
    end_s = events[-1]["t_s"]
    plan = _plan(name, practised)
    for one in plan["faults"]:
        one["silences"] = False  # nothing is told of the requests but that they are well
    due = enumerate(schedule(plan, BEGAN_S, end_s - 1))
    rows = [_row(n, 1, one, one[0]) | answered(n, 0.0, 0.0) | {"final": True} for n, one in due]
    requests = pd.DataFrame(rows, columns=REQUEST_COLUMNS.names)
    metrics = pd.DataFrame(_all_well(end_s), columns=METRIC_COLUMNS.names)
    run = Run(plan, events, requests, metrics, {})
    add_presence(run)
    add_alerts(run, drill.load(name))
    add_unremarkable(run)
    return run


def only_alerts(name: str) -> Run:
    """A fresh copy of a run of that drill: its faults, its alerts, and what rules look at, which is well throughout."""
    return copy.deepcopy(_only_alerts(name))


def _all_well(end_s: float) -> Iterator[Sample]:
    """Samples of a stack in which no rule has anything to look at."""
    for t_s in (step / 2 for step in range(int(end_s * 2) + 2)):
        for replica in TOPOLOGY.replicas:
            for metric, value in (
                ("up", 1.0),
                ("synthetic_ok", 1.0),
                ("synthetic_ttft_ms", 50.0),
                ("admission_rejections_total", 0.0),
            ):
                yield t_s, replica, metric, "", value
        for gateway in TOPOLOGY.gateways:
            yield t_s, gateway, "up", "", 1.0
            yield t_s, gateway, "queue_current", "", 0.0
            yield from ((t_s, gateway, "server_up", f"server={replica}", 1.0) for replica in TOPOLOGY.replicas)


def add_alerts(run: Run, practised: Drill) -> None:
    """What Alertmanager delivers when all is well: all that must fire, and that it is over, well within its bounds."""
    told = [{"t_s": 0.4, "kind": "alert_rules", "scale": STACK_SCALE, "rules": [rule.name for rule in RULES]}]
    for expected in (one for one in practised.alerts if one.fires):
        begin, end = (
            max(e["t_s"] for e in run.events if e["kind"] == kind and e["phase"] == expected.phase)
            for kind in ("fault_injected", "fault_healed")
        )
        fired = begin + 0.6 * alert_times.fires_within_s(expected, STACK_SCALE)
        cleared = end + 0.6 * alert_times.clears_within_s(expected.alert, expected.clear_delay_s, STACK_SCALE)
        severity = BY_NAME[expected.alert].severity
        told += alert_told(expected.alert, fired, cleared, severity, **expected.labels)
    run.events = sorted([*run.events, *told], key=lambda event: event["t_s"])
    times = range(int(run.events[-1]["t_s"]) + 2)
    heard = pd.DataFrame(
        [(float(t_s), *of, "", 1.0) for t_s in times for of in alerts.CHAIN], columns=METRIC_COLUMNS.names
    )
    run.metrics = pd.concat([run.metrics, heard], ignore_index=True)


#: Twice a second, of series that no story speaks of: nothing restarts, everything answers, nothing waits.
_UNREMARKABLE = {"ready": 1.0, "server_up": 1.0, "server_weight": 100.0, "answered": 1.0, "synthetic_ok": 1.0}


def add_unremarkable(run: Run) -> None:
    """Samples of every series that a run has to have and this one has not."""
    steps = range(2 * int(run.events[-1]["t_s"]) + 8)
    known = set(zip(run.metrics["component"], run.metrics["metric"], strict=True))
    missing = [one for one in sampled.series(TOPOLOGY.stack) if (one.component, one.metric) not in known]
    rows = [
        (step / 2, one.component, one.metric, one.labels or "", _UNREMARKABLE.get(one.metric, 0.0))
        for one in missing
        for step in steps
    ]
    if ("dns", "answered") not in known:
        label = f"address={TOPOLOGY.link('client-to-gateway-a').listen_address}"
        rows += [(step / 2, "dns", "answer", label, 1.0) for step in steps]
    if rows:
        run.metrics = pd.concat([run.metrics, pd.DataFrame(rows, columns=METRIC_COLUMNS.names)], ignore_index=True)


def add_machine(run: Run) -> None:
    """A machine that nobody else uses, and whose own load raises late wake-ups and pressure, as it does."""
    end = float(run.events[-1]["t_s"]) + 2
    rows = [
        (step / 2, "machine", metric, "", value)
        for step in range(int(2 * end))
        for metric, value in QUIET_MACHINE.items()
    ]
    run.metrics = pd.concat([run.metrics, pd.DataFrame(rows, columns=METRIC_COLUMNS.names)], ignore_index=True)


def on_machine(run: Run, begin: float, end: float, **values: float) -> None:
    """What the machine's samples say from ``begin`` to ``end``."""
    here = run.metrics["component"].eq("machine") & run.metrics["t_s"].gt(begin) & run.metrics["t_s"].le(end)
    for metric, value in values.items():
        run.metrics.loc[here & run.metrics["metric"].eq(metric), "value"] = value


def disturb(run: Run, begin: float, end: float) -> None:
    """Somebody else uses a whole core in that time."""
    on_machine(run, begin, end, others_cores=1.0, busy_cores=2.0)


def alert_told(name: str, fired_s: float, cleared_s: float, severity: str = "page", **labels: str) -> list[Row]:
    """The two events of one alert."""
    alert = {"alert": name, "severity": severity, "labels": labels, "started_s": fired_s - 0.1}
    return [
        {"t_s": fired_s + 0.5, "kind": "alert_fired", **alert, "received_s": fired_s, "ended_s": None},
        {"t_s": cleared_s + 0.5, "kind": "alert_cleared", **alert, "received_s": cleared_s, "ended_s": cleared_s - 0.1},
    ]


def _plan(name: str, scenario: Scenario) -> dict[str, Any]:
    practised = drill.load(name)
    return {
        "schema": SCHEMA_VERSION,
        "run_id": f"2026-01-01T00-00-00-{name}",
        "drill": name,
        "title": practised.title,
        "hypothesis": practised.hypothesis,
        "runbook": practised.runbook,
        **as_planned(practised, scenario),
        "alerts": [dataclasses.asdict(expected) for expected in practised.alerts],
        "scenario": scenario.model_dump(mode="json"),
        "serves": dict.fromkeys(TOPOLOGY.replicas, "v1@00000000"),
        "seed": 1,
        "versions": {"vllm": "0.32"},
        "git": {"commit": "0" * 40, "dirty": False},
        "runtime": "process",
        "engine": "sim",
        "instance": 17,
        "topology": {"instance": 17, "models": {}},
        "gateway_policy": dataclasses.asdict(POLICY),
        "dns_policy": dataclasses.asdict(DNS_POLICY),
        "command": f"python -m harness run {name}",
        "anchor": {"mono_s": 0.0, "wall": "2026-01-01T00:00:00+00:00"},
    }


def as_planned(practised: Drill, scenario: Scenario) -> Row:
    """What a plan says of the faults and of the drill's checks."""
    own = verdicts.checks(practised, phases=scenario.phases)[len(verdicts.INVARIANTS) :]
    return {"faults": planned.faults(scenario, TOPOLOGY), "checks": drill.planned(own)}


def recorded_today(run: Run, scenario: Scenario) -> None:
    """Add to a run of before what is recorded today: its plan's faults and checks, that what lasted was there, and how
    many requests the generator reported.
    """
    next(e for e in run.events if e["kind"] == "load_stopped").setdefault("ended", int(run.requests["final"].sum()))
    run.plan |= as_planned(drill.load(run.plan["drill"]), scenario)
    for one in (one for one in run.plan["faults"] if one["proven_again"]):
        heal = next(e for e in run.events if e["kind"] == "fault_healing" and e["fault"] == one["fault"])
        run.events.append({**heal, "t_s": heal["t_s"] - 1, "kind": "fault_proven_again", "why": "it was seen"})
    run.events.sort(key=lambda event: float(event["t_s"]))
    add_presence(run)


def add_presence(run: Run) -> None:
    """What lasts is there from its injection to its heal."""
    rows: list[Sample] = []
    for one in (one for one in run.plan["faults"] if one["lasts"]):
        begin, end = (
            next(e["t_s"] for e in run.events if e["kind"] == kind and e["fault"] == one["fault"])
            for kind in ("fault_injected", "fault_healing")
        )
        series = one["on"], FAULT_PRESENT, of_fault(one["fault"])
        rows += [(begin + n + 0.1, *series, 1.0) for n in range(int(end - begin))]
    if rows:
        more = pd.DataFrame(rows, columns=METRIC_COLUMNS.names)
        run.metrics = pd.concat([run.metrics, more], ignore_index=True)


def load_stopped(t_s: float) -> Row:
    """The event of a generator that ended as it should."""
    return {"t_s": t_s, "kind": "load_stopped", "status": 0, "ended": 0}


def _events(scenario: Scenario) -> Iterator[dict[str, Any]]:
    """What conduct records, at the times at which it does."""
    t_s = 1.0
    yield {"t_s": BEGAN_S + 0.1, "kind": "load_started"}
    for i, phase in enumerate(scenario.phases):
        faults = [
            {
                "fault": f"{phase.name}/{spec.type}/{on}",
                "phase": phase.name,
                "on": on,
                "type": spec.type,
                "expected_disruptions": list(fault_class(spec.type).expected_disruptions),
                "why": "it was seen",
            }
            for spec in phase.faults
            for on in matching(spec.type, spec.on, TOPOLOGY)
        ]

        def fault(kind: str, at_s: float, faults: Any = faults) -> Iterator[dict[str, Any]]:
            for one in faults:
                yield {"t_s": at_s, "kind": kind, **one}

        yield {"t_s": t_s, "kind": "phase_started", "phase": phase.name, "phase_kind": phase.kind}
        yield from fault("fault_injecting", t_s + 0.01)
        yield from fault("fault_injected", t_s + 0.05)
        yield from fault("fault_proven", t_s + 4.0)
        t_s += phase.duration
        yield from fault("fault_proven_again", t_s - 1.0)
        if phase.until:
            yield {"t_s": t_s, "kind": "phase_settled", "phase": phase.name, "unsettled": []}
        yield from fault("fault_healing", t_s)
        yield from fault("fault_healed", t_s + 0.05)
        yield {"t_s": t_s + 0.06, "kind": "phase_ended", "phase": phase.name}
        yield from fault("heal_proven", t_s + 0.5)
        following = scenario.phases[i + 1].kind if i + 1 < len(scenario.phases) else "fault"
        if following == "fault" and phase.kind != "warmup":
            yield {"t_s": t_s + 0.07, "kind": "steady_state", "phase": phase.name, "reached": True, "why": "all fine"}
        t_s += 0.1
    yield load_stopped(t_s + 1.0)


def schedule(plan: dict[str, Any], began_s: float, end_s: float) -> list[tuple[float, Draw]]:
    """All arrivals of a plan that are meant to start by ``end_s``, with their intended starts."""
    load = Scenario.stored(plan["scenario"]).load
    draws = arrivals.arrivals(plan["run_id"], plan["seed"], load, arrivals.default_users())
    timed = ((began_s + draw.offset_s, draw) for draw in draws)
    return list(itertools.takewhile(lambda one: one[0] <= end_s, timed))


def _requests(story: Story, plan: dict[str, Any], spans: Spans) -> Iterator[list[Row]]:
    rng, retries = random.Random(7), Scenario.stored(plan["scenario"]).load.retries
    for number, one in enumerate(schedule(plan, BEGAN_S, max(e for _, e in spans.values()))):
        yield attempts(story, retries, number, one, spans, rng)


def attempts(
    story: Story, retries: Retries, number: int, one: tuple[float, Draw], spans: Spans, rng: random.Random
) -> list[Row]:
    """Attempts until one works or the user has tried as often as may be."""
    rows: list[Row] = []
    start, delay = one[0] + rng.uniform(0, 0.002), None
    for attempt in range(1, retries.max + 2):
        row = story.attempt(_row(number, attempt, one, start), number, spans, rng)
        row["retry_delay_ms"] = delay
        for whole in ("ttft", "e2e"):
            if row[f"{whole}_ms"] is not None:
                row[f"{whole}_from_schedule_ms"] = row[f"{whole}_ms"] + 1000 * (start - one[0])
        rows.append(row)
        if row["outcome"] == "ok":
            break
        delay = 1000.0 * (row["retry_after_s"] or 0) + _jitter_ms(retries, attempt, rng)
        start += row["e2e_ms"] / 1000 + delay / 1000
    rows[-1]["final"] = True
    return rows


def _jitter_ms(retries: Retries, attempt: int, rng: random.Random) -> float:
    return rng.uniform(0, 1000 * min(retries.cap, retries.base * 2 ** (attempt - 1)))


def _row(number: int, attempt: int, one: tuple[float, Draw], start: float) -> Row:
    intended, draw = one
    row: Row = dict.fromkeys(REQUEST_COLUMNS.names)
    return row | {
        "request_id": draw.request_id,
        "attempt": attempt,
        "final": False,
        "user_id": draw.user_id,
        "cohort": draw.cohort.name,
        "deployment": "drillyard",
        "gateway": TOPOLOGY.link("client-to-gateway-a").listen_address,
        "intended_start_s": intended,
        "start_s": start,
        "schedule_lag_ms": (start - intended) * 1000 if attempt == 1 else None,
        "first_byte_sent_s": start + 0.001,
        "max_tokens": 48,
        "prompt_chars": 40,
        "prompt_hash": f"p{number % 64}",
    }


def refused(request_id: str, after_ms: float) -> Row:
    """An honest refusal: 504 when that took more than a second, 503 else."""
    timed_out = after_ms > 1000
    return {
        "outcome": "http_5xx" if timed_out else "shed_503",
        "http_status": 504 if timed_out else 503,
        "gateway_replica": "replica-1" if timed_out else "",
        "gateway_retries": int(timed_out),
        "headers_ms": after_ms,
        "e2e_ms": after_ms,
        "error_type": "upstream_error",
        "error_code": "upstream_timeout" if timed_out else "no_replica",
        "error_message": "No replica answered in time; try again in a second.",
        "error_request_id": request_id,
        "retry_after_s": 1.0,
    }


def answered(number: int, late_s: float, extra_ms: float) -> Row:
    """A whole answer, ``extra_ms`` slower than usual, to an attempt that began ``late_s`` after it was meant to."""
    replica = TOPOLOGY.replicas[number % len(TOPOLOGY.replicas)]
    return {
        "outcome": "ok",
        "http_status": 200,
        "served_version": "v1@00000000",
        "replica": replica,
        "headers_ms": 10.0 + extra_ms,
        "ttft_ms": _TTFT_MS + extra_ms,
        "ttft_from_schedule_ms": late_s * 1000 + _TTFT_MS + extra_ms,
        "e2e_ms": E2E_MS + extra_ms,
        "e2e_from_schedule_ms": late_s * 1000 + E2E_MS + extra_ms,
        "queue_gateway_ms": 0.0,
        "gateway_replica": replica,
        "gateway_retries": int(extra_ms > 1000),
        "max_stall_ms": 30.0,
        "prompt_tokens": 12,
        "output_tokens": TOKENS,
        "content_events": TOKENS - 1,
        "finish_reason": "stop",
        "answer_chars": 80,
        "answer_hash": f"a{number % 64}",
        "answer_correct": True,
    }


def ended_s(requests: pd.DataFrame) -> dict[str, npt.NDArray[np.float64]]:
    """By replica, when its attempts that ended well did so, in order."""
    ok = requests[requests["outcome"] == "ok"]
    ends = (ok["start_s"] + ok["e2e_ms"] / 1000).to_numpy(dtype=float)
    return {replica: np.sort(ends[ok["replica"].eq(replica).to_numpy()]) for replica in TOPOLOGY.replicas}


def tokens(t_s: float, replica: str, ended: dict[str, npt.NDArray[np.float64]]) -> Iterator[Sample]:
    """What a replica has counted by then: those of ``ended_s`` that had ended, and one of our own every 2 s."""
    done = int(np.searchsorted(ended[replica], t_s))
    own = float(int(t_s / 2))
    yield t_s, replica, "generation_tokens_total", "", done * TOKENS + own
    yield from own_tokens(t_s, replica, own)


def used_by_gateways(t_s: float, replica: str, starts: npt.NDArray[np.float64], down: bool) -> Iterator[Sample]:
    """How each gateway sees a replica, and a quarter of all attempts that had started (``starts``, sorted) on it."""
    for gateway in TOPOLOGY.gateways:
        share = int(np.searchsorted(starts, t_s)) // 4
        yield t_s, gateway, "server_up", f"server={replica}", 0.0 if down else 1.0
        yield t_s, gateway, "server_sessions_total", f"server={replica}", float(share)


def own_tokens(t_s: float, replica: str, asked: float) -> Iterator[Sample]:
    """The harness asked for so many tokens until then and got them at once; the exporter asked for none."""
    for what in ("asked", "ended", "got"):
        yield t_s, replica, f"own_tokens_{what}_total", "by=harness", asked
        yield t_s, replica, f"own_tokens_{what}_total", "by=exporter", 0.0
