"""The synthetic run of a gateway-failover in which everything went as it should."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from harness.evidence.record import ANY_REPLICA
from tests import runs
from tests.runs import E2E_MS, TOPOLOGY, Row, Run, Sample, Spans

DEAD, HUNG, SPLIT, NO_DNS = "dead", "hung", "split", "dns-dead"
A, B = (TOPOLOGY.link(f"client-to-{gateway}").listen_address for gateway in TOPOLOGY.gateways)
#: Users follow a DNS answer so much later.
_FOLLOW_S = 0.8


@dataclass(frozen=True)
class _Failure:
    """How gateway-a failed in a phase. Seconds after its injection or, the last three, after its heal."""

    not_ready_s: float
    dns_moves_s: float
    ready_again_s: float
    dns_back_s: float = 2.0

    def users_elsewhere(self, span: tuple[float, float]) -> tuple[float, float]:
        """When users went to gateway-b."""
        return span[0] + self.dns_moves_s + _FOLLOW_S, span[1] + self.dns_back_s + _FOLLOW_S


_FAILURES = {DEAD: _Failure(0.1, 1.5, 0.3), HUNG: _Failure(1.0, 2.5, 0.1), SPLIT: _Failure(2.5, 4.0, 1.5)}


def healthy() -> Run:
    """A fresh copy of it."""
    return runs.healthy(FAILOVER)


def _met_the_gateway(row: Row, number: int, spans: Spans, rng: random.Random) -> Row:
    """Attempts at gateway-a break while it cannot serve; DNS leads the later ones to gateway-b."""
    start, late_s = row["start_s"], row["start_s"] - row["intended_start_s"]
    for phase, failure in _FAILURES.items():
        begin, end = spans[phase]
        moved, back = failure.users_elsewhere(spans[phase])
        if moved <= start < back:
            row["gateway"] = B
        elif begin <= start < end:
            return row | _died(row, phase, begin)
        elif begin - E2E_MS / 1000 < start < begin:
            return row | _broke(number, phase, begin - start)
    extra_ms = rng.uniform(0, 60)
    silent_from, silent_to = spans[NO_DNS]
    if silent_from + 0.5 <= start < silent_to and number % 5 == 0:
        row |= {"dns_ms": 300.0, "first_byte_sent_s": start + 0.301}
        extra_ms += 300
    return row | runs.answered(number, late_s, extra_ms)


def _died(row: Row, phase: str, begin: float) -> Row:
    """An attempt that was begun at the failed gateway."""
    if phase == SPLIT:
        return runs.refused(row["request_id"], 3000.0 if row["start_s"] < begin + 4 else 5.0)
    if phase == HUNG:
        return {"outcome": "timeout_ttft", "subtype": "no_headers", "e2e_ms": 12000.0}
    return {"outcome": "connect_error", "subtype": "eof_before_response", "e2e_ms": 2.0}


def _broke(number: int, phase: str, into_s: float) -> Row:
    """A stream that was ``into_s`` old when its gateway failed."""
    outcome, subtype, after_s = {
        DEAD: ("broken_stream", "fin", 0.1),
        HUNG: ("timeout_stall", None, 12.0),
        SPLIT: ("broken_stream", "fin", 10.0),
    }[phase]
    return {
        "outcome": outcome,
        "subtype": subtype,
        "http_status": 200,
        "replica": f"replica-{number % 2 + 1}",
        "headers_ms": 10.0,
        "e2e_ms": (into_s + after_s) * 1000,
        "content_events": 0,
    }


def _metrics(spans: Spans, requests: pd.DataFrame) -> Iterator[Sample]:
    """5 Hz samples of what the failures did to gateways and DNS."""
    ended = runs.ended_s(requests)
    end = max(e for _, e in spans.values())
    for step in range(int((end + 4) * 5)):
        t_s = step / 5
        yield t_s, "load", "cpu_ratio", "", 0.2
        for replica in TOPOLOGY.replicas:
            yield t_s, replica, "up", "", 1.0
            yield from runs.tokens(t_s, replica, ended)
        for gateway in TOPOLOGY.gateways:
            yield from _gateway(t_s, gateway, spans)
        yield from _dns(t_s, spans)
        yield from runs.own_tokens(t_s, ANY_REPLICA, 0.0)


def _gateway(t_s: float, gateway: str, spans: Spans) -> Iterator[Sample]:
    mine = gateway == TOPOLOGY.gateways[0]
    silent = mine and any(spans[phase][0] <= t_s < spans[phase][1] for phase in (DEAD, HUNG))
    not_ready = mine and any(
        spans[phase][0] + failure.not_ready_s <= t_s < spans[phase][1] + failure.ready_again_s
        for phase, failure in _FAILURES.items()
    )
    yield t_s, gateway, "up", "", 0.0 if silent else 1.0
    yield t_s, gateway, "ready", "", 0.0 if not_ready else 1.0


def _dns(t_s: float, spans: Spans) -> Iterator[Sample]:
    silent = spans[NO_DNS][0] <= t_s < spans[NO_DNS][1]
    yield t_s, "dns", "answered", "", 0.0 if silent else 1.0
    if not silent:
        moved = any(
            spans[phase][0] + failure.dns_moves_s <= t_s < spans[phase][1] + failure.dns_back_s
            for phase, failure in _FAILURES.items()
        )
        yield t_s, "dns", "answer", f"address={B if moved else A}", 1.0


FAILOVER = runs.Story("gateway-failover", _met_the_gateway, _metrics)
