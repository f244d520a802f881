"""Synthetic run folders of the cancel-storm drill, written as real ones are: healthy, then edited by the tests."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.evidence.record import ANY_REPLICA, METRIC_COLUMNS, REQUEST_COLUMNS
from harness.judge import drill
from harness.model.artifacts.waves import Canary, Stream, Wave, as_data, from_data
from harness.model.scenario import Phase, Scenario
from stack.stacks.vllm_haproxy import STACK
from tests import runs
from tests.runs import Run

RATE_PER_S, STREAMS, TOKENS = 5.0, 8, 31
#: When a wave's streams are sent and cancelled, and how long it is watched, after its beginning; the next comes later.
SENT_S, CANCELLED_S, WATCHED_S, EVERY_S = 0.5, 1.0, 2.6, 3.0
TTFT_S, E2E_S = 0.2, 0.7


def healthy() -> Run:
    """A fresh copy of a run in which every cancel arrived at once and nothing stayed."""
    return copy.deepcopy(_healthy())


@functools.cache
def _healthy() -> Run:
    practised = _smaller(runs.scenario("cancel-storm"))
    plan = copy.deepcopy(runs.healthy().plan)
    named = drill.load("cancel-storm")
    plan |= {"drill": named.name, "title": named.title, "scenario": practised.model_dump(mode="json")}
    plan |= runs.as_planned(named, practised)
    plan["alerts"] = [dataclasses.asdict(expected) for expected in named.alerts]
    kinds = {p.name: p.kind for p in practised.phases}
    run = Run(plan, list(_events(practised)), pd.DataFrame(), pd.DataFrame(), {})
    spans = {name: run.span(name) for name in kinds}
    found = [
        _wave(phase, number, spans[phase.name][0] + 0.1 + EVERY_S * (number - 1))
        for phase in practised.phases
        if phase.faults
        for number in range(1, phase.faults[0].options.get("waves", 1) + 1)
    ]
    run.files["waves.json"] = as_data(found)
    run.requests = pd.DataFrame(list(_requests(plan, spans["quiet"][0] - 0.6 - E2E_S)), columns=REQUEST_COLUMNS.names)
    run.assign()
    run.metrics = pd.DataFrame(list(_metrics(run.requests, found, spans)), columns=METRIC_COLUMNS.names)
    run.summary = {
        "in_flight_at_end": 0,
        "achieved_rate_per_s": RATE_PER_S,
        "planned_rate_per_s": RATE_PER_S,
        "workers": 1,
    }
    run.recount()
    runs.add_alerts(run, named)
    runs.add_unremarkable(run)
    return run


def _smaller(practised: Scenario) -> Scenario:
    """With as few streams in each wave as these runs have."""
    data = practised.model_dump(mode="json")
    for fault in (fault for phase in data["phases"] for fault in phase["faults"]):
        fault["options"]["streams"] = STREAMS
    return Scenario.stored(data)


def _events(scenario: Any) -> Iterator[dict[str, Any]]:
    t_s = 1.1
    yield {"t_s": 1.06, "kind": "load_started"}
    for phase, following in zip(scenario.phases, [*scenario.phases[1:], None], strict=True):
        on = phase.faults[0].on if phase.faults else ""
        fault = f"{phase.name}/cancel_wave/{on}"
        about = {"phase": phase.name, "fault": fault, "on": on, "type": "cancel_wave", "why": "seen"}
        quiet = phase.kind == "quiet"
        if quiet:
            yield runs.load_stopped(t_s - 0.5)
        yield {"t_s": t_s, "kind": "phase_started", "phase": phase.name, "phase_kind": phase.kind}
        for kind, after_s in (("fault_injecting", 0.01), ("fault_injected", 0.02), ("fault_proven", 3.0)):
            if phase.faults:
                yield {"t_s": t_s + after_s, "kind": kind, **about}
        for replica in STACK.of("replica") if quiet else ():
            found = {"component": replica, "success": True, "tries": 1, "why": "its prefix cache was reset"}
            yield {"t_s": t_s + 0.1, "kind": "prefix_cache_reset", **found}
        t_s += phase.duration
        for kind, after_s in (("fault_healing", 0.0), ("fault_healed", 0.01)):
            if phase.faults:
                yield {"t_s": t_s + after_s, "kind": kind, **about}
        yield {"t_s": t_s + 0.05, "kind": "phase_ended", "phase": phase.name}
        if phase.faults:
            yield {"t_s": t_s + 0.055, "kind": "heal_proven", **about}
        if following is not None and following.kind in ("fault", "quiet") and phase.kind != "warmup":
            yield {"t_s": t_s + 0.06, "kind": "steady_state", "phase": phase.name, "reached": True, "why": "all fine"}
        t_s += 2.0 if following is not None and following.kind == "quiet" else 0.1


def _wave(practised: Phase, number: int, began_s: float) -> Wave:
    phase, spec = practised.name, practised.faults[0]
    wave = Wave(f"{phase}/cancel_wave/{spec.on}", phase, number, spec.options["moment"], began_s, True, "seen")
    wave.watched_until_s = began_s + WATCHED_S
    for n in range(STREAMS):
        stream = Stream(f"{phase}.{number}.{n}", STACK.of("gateway")[n % 2], ("fin", "rst")[n % 2], began_s + SENT_S)
        stream.cancelled_s, stream.replica, stream.status = began_s + CANCELLED_S, STACK.of("replica")[n % 2], 200
        wave.streams.append(stream)
    wave.canaries = [Canary(replica, True, "the right answer", 0.2) for replica in STACK.of("replica")]
    wave.rss_bytes = {replica: 5e7 + 1000.0 * (number % 3) for replica in STACK.of("replica")}
    return wave


def _requests(plan: dict[str, Any], end_s: float) -> Iterator[dict[str, Any]]:
    for number, (start, draw) in enumerate(runs.schedule(plan, 1.05, end_s)):
        replica = STACK.of("replica")[number % 2]
        yield dict.fromkeys(REQUEST_COLUMNS.names) | {
            "request_id": draw.request_id, "attempt": 1, "final": True, "user_id": draw.user_id,
            "cohort": draw.cohort.name, "deployment": "drillyard", "gateway": "127.0.17.111", "intended_start_s": start,
            "start_s": start, "schedule_lag_ms": 1.0, "first_byte_sent_s": start, "max_tokens": 48,
            "prompt_chars": 40, "outcome": "ok", "http_status": 200, "served_version": "v1@00000000",
            "replica": replica, "headers_ms": 10.0, "ttft_ms": 1000 * TTFT_S, "ttft_from_schedule_ms": 1000 * TTFT_S,
            "e2e_ms": 1000 * E2E_S, "e2e_from_schedule_ms": 1000 * E2E_S, "queue_gateway_ms": 0.0,
            "gateway_replica": replica, "gateway_retries": 0, "max_stall_ms": 30.0, "prompt_tokens": 12,
            "output_tokens": TOKENS, "content_events": TOKENS - 1, "finish_reason": "stop", "answer_chars": 80,
            "answer_correct": True,
        }  # fmt: skip


def _metrics(
    requests: pd.DataFrame, found: list[Wave], spans: dict[str, tuple[float, float]]
) -> Iterator[tuple[Any, ...]]:
    """What probes see five times a second, and 25 times while a wave is on."""
    end, starts = spans["quiet"][1], _starts(requests)
    for t_s in np.arange(0.0, end + 3, 0.2):
        yield t_s, "load", "cpu_ratio", "", 0.2
        for replica in STACK.of("replica"):
            yield t_s, replica, "up", "", 1.0
            yield t_s, replica, "rss_bytes", "", 5e7
            for metric, value in _engine(starts[replica], found, t_s).items():
                yield t_s, replica, metric, "", value
            yield from _own_tokens(t_s, replica, _of_waves(found, t_s))
        yield from _own_tokens(t_s, ANY_REPLICA, 0.0)
        for gateway in STACK.of("gateway"):
            yield t_s, gateway, "up", "", 1.0
    for wave in found:
        for t_s in np.arange(wave.began_s, wave.began_s + WATCHED_S, 0.04):
            for replica in STACK.of("replica"):
                for metric, value in _look(starts[replica], found, t_s).items():
                    yield t_s, replica, f"wave_{metric}", "", value


def watch_on(run: Run, phase: str) -> None:
    """The last wave of a phase is watched for five seconds after its cancel, as one whose aftermath stays is."""
    data = [wave for wave in run.files["waves.json"]["waves"] if wave["phase"] == phase][-1]
    begin, data["watched_until_s"] = data["watched_until_s"], data["began_s"] + 6.08
    found, starts = list(from_data(run.files["waves.json"])), _starts(run.requests)
    more = [
        (t_s, replica, f"wave_{metric}", "", value)
        for t_s in np.arange(begin + 0.04, data["watched_until_s"], 0.04)
        for replica in STACK.of("replica")
        for metric, value in _look(starts[replica], found, t_s).items()
    ]
    run.metrics = pd.concat([run.metrics, pd.DataFrame(more, columns=run.metrics.columns)], ignore_index=True)


def _starts(requests: pd.DataFrame) -> dict[str, npt.NDArray[np.float64]]:
    """By replica, when its requests were begun."""
    of = requests["replica"]
    return {one: requests["start_s"][of.eq(one)].to_numpy(dtype=float) for one in STACK.of("replica")}


def _look(starts: npt.NDArray[np.float64], found: list[Wave], t_s: float) -> dict[str, float]:
    """What an engine says at once when it is asked during a wave."""
    return {"asked_s": t_s, **_engine(starts, found, t_s)}


def _engine(starts: npt.NDArray[np.float64], found: list[Wave], t_s: float) -> dict[str, float]:
    """An engine that hears of a cancel 0.1 s after it."""
    users = float(((starts <= t_s) & (t_s < starts + E2E_S)).sum())
    made = np.floor(TOKENS * np.clip((t_s - starts - TTFT_S) / (E2E_S - TTFT_S), 0, 1)).sum()
    on = [wave for wave in found if wave.began_s + SENT_S <= t_s < wave.began_s + CANCELLED_S + 0.1]
    more = STREAMS / 2 if on else 0.0
    return {
        "running": users + more,
        "waiting": 1.0 if on and on[0].moment == "queued" else 0.0,
        "kv_usage_ratio": 0.015 * (users + more),
        "generation_tokens_total": float(made) + _of_waves(found, t_s),
    }


def _of_waves(found: list[Wave], t_s: float) -> float:
    """Tokens that each replica has made for waves until then."""
    return sum(20.0 * np.floor(np.clip((t_s - w.began_s - SENT_S) / 0.5, 0, 1)) for w in found)


def _own_tokens(t_s: float, replica: str, tokens: float) -> Iterator[tuple[Any, ...]]:
    for what in ("asked", "ended", "got"):
        yield t_s, replica, f"own_tokens_{what}_total", "by=harness", tokens
        yield t_s, replica, f"own_tokens_{what}_total", "by=exporter", 0.0
