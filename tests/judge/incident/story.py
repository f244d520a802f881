"""The synthetic run of an incident drill, here with a frozen replica, in which everything went as it should."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pandas as pd

from harness.evidence.record import ANY_REPLICA
from tests import runs
from tests.runs import TOPOLOGY, Row, Run, Sample, Spans

FROZEN = "replica-2"


def healthy() -> Run:
    """A fresh copy of it."""
    return runs.healthy(INCIDENT)


def _met_the_frozen(row: Row, number: int, spans: Spans, rng: random.Random) -> Row:
    """Until the gateways have ejected the replica, every other request waits for one time-out."""
    start, (begin, end) = row["start_s"], spans["incident"]
    waited = 3000.0 if begin <= start < begin + 4 and number % 2 else 0.0
    answered = row | runs.answered(number, start - row["intended_start_s"], waited + rng.uniform(0, 60))
    if begin - 1.0 <= start < end + 3.0:
        answered |= dict.fromkeys(("replica", "gateway_replica"), "replica-1")
    return answered


def _samples(spans: Spans, requests: pd.DataFrame) -> Iterator[Sample]:
    """5 Hz samples of replicas and gateways; a frozen replica answers none."""
    starts, ended = np.sort(requests["start_s"].to_numpy(dtype=float)), runs.ended_s(requests)
    begin, end = spans["incident"]
    for step in range(int((max(e for _, e in spans.values()) + 4) * 5)):
        t_s = step / 5
        yield t_s, "load", "cpu_ratio", "", 0.2
        for replica in TOPOLOGY.replicas:
            frozen = replica == FROZEN and begin <= t_s < end
            yield t_s, replica, "up", "", 0.0 if frozen else 1.0
            if not frozen:
                yield t_s, replica, "running", "", float(step % 3)
                yield t_s, replica, "waiting", "", 0.0
                yield t_s, replica, "kv_usage_ratio", "", 0.02 * (step % 3)
                yield from runs.tokens(t_s, replica, ended)
            down = replica == FROZEN and begin + 4 <= t_s < end + 3
            for gateway in TOPOLOGY.gateways:
                share = int(np.searchsorted(starts, t_s)) // 4
                yield t_s, gateway, "server_up", f"server={replica}", 0.0 if down else 1.0
                yield t_s, gateway, "server_sessions_total", f"server={replica}", float(share)
        for gateway in TOPOLOGY.gateways:
            yield t_s, gateway, "up", "", 1.0
        yield from runs.own_tokens(t_s, ANY_REPLICA, 0.0)


INCIDENT = runs.Story("incident", _met_the_frozen, _samples)
