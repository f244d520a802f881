"""The synthetic run of a timeout-spike in which everything went as it should."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pandas as pd

from harness.evidence.record import ANY_REPLICA
from tests import runs
from tests.runs import TOPOLOGY, Row, Run, Sample, Spans


def healthy() -> Run:
    """A fresh copy of it."""
    return runs.healthy(TIMEOUT_SPIKE)


def _met_the_spike(row: Row, number: int, spans: Spans, rng: random.Random) -> Row:
    """One replica's links time out, then all; the gateways hide the first and are honest about the second."""
    start = row["start_s"]
    dead_from, dead_to = spans["all-replicas"]
    if dead_from - 0.3 <= start < dead_to:
        return row | runs.refused(row["request_id"], 3000.0 if start < dead_from + 5 else 5.0)
    slow_from, _ = spans["one-replica"]
    waited = 3000.0 if slow_from <= start < slow_from + 4 and number % 2 else 0.0
    return row | runs.answered(number, start - row["intended_start_s"], waited + rng.uniform(0, 60))


def _spike_metrics(spans: Spans, requests: pd.DataFrame) -> Iterator[Sample]:
    """5 Hz samples of what the requests must have done to replicas and gateways."""
    starts, ended = np.sort(requests["start_s"].to_numpy(dtype=float)), runs.ended_s(requests)
    end = max(e for _, e in spans.values())
    one, every = spans["one-replica"], spans["all-replicas"]
    for step in range(int((end + 4) * 5)):
        t_s = step / 5
        dead = every[0] + 1 <= t_s < every[1]
        yield t_s, "load", "cpu_ratio", "", 0.2
        for n, replica in enumerate(TOPOLOGY.replicas, 1):
            yield t_s, replica, "up", "", 1.0
            yield t_s, replica, "running", "", 0.0 if dead else float(step % 3)
            yield t_s, replica, "waiting", "", 0.0
            yield t_s, replica, "kv_usage_ratio", "", 0.0 if dead else 0.02 * (step % 3)
            yield from runs.tokens(t_s, replica, ended)
            down = (n == 2 and one[0] + 4 <= t_s < one[1] + 3) or every[0] + 4 <= t_s < every[1] + 3
            yield from runs.used_by_gateways(t_s, replica, starts, down)
        for gateway in TOPOLOGY.gateways:
            yield t_s, gateway, "up", "", 1.0
        yield from runs.own_tokens(t_s, ANY_REPLICA, 0.0)


TIMEOUT_SPIKE = runs.Story("timeout-spike", _met_the_spike, _spike_metrics)
