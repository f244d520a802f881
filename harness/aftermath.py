"""What was left of a wave of cancelled streams in each replica, with everybody else's share subtracted.

Users go on asking while waves are on. What runs, waits, is held and is made for them is known from their own records;
it is taken at its most, so that none of it is blamed on the wave. What is left over is the wave's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.view import RunView
from harness.waves import Wave

#: An engine's gauges tell what its last step found, and a client's record ends a bit before or after the engine's.
LAG_S = 0.3
#: A synthetic generation of the harness and one of the exporter may be in a replica at any time.
SYNTHETIC = 2.0
#: Tokens that those and the edges of a stretch may cost.
TOKENS_SLACK = 16.0
#: Without a look for so long nobody knows when something was back.
GAP_MAX_S = 0.5

Floats = npt.NDArray[np.float64]


class Unknown(Exception):
    """The aftermath cannot be told; the message says why."""


@dataclass(frozen=True)
class Aftermath:
    """One replica after one wave. Times are seconds after its last cancel; infinite: not as long as it was watched."""

    wave: Wave
    replica: str
    running_back_s: float
    waiting_back_s: float
    kv_back_s: float
    tokens: float  # made after the last cancel, less what others can have got
    period_s: float  # between two looks
    running_left: float  # at the last look
    kv_left: float


def waves_of(view: RunView, phase: str) -> list[Wave]:
    """The waves of a phase that were cancelled at their moment. Unknown when there is none."""
    found = [wave for wave in view.waves if wave.phase == phase and wave.reached]
    if not found:
        raise Unknown(f"no wave of {phase} was cancelled at its moment")
    return found


def after(view: RunView, wave: Wave, replica: str) -> Aftermath:
    """What was left of ``wave`` in ``replica``. Unknown when that was not sampled well enough."""
    times, looks = _looks(view, wave, replica)
    assert wave.cancelled_s is not None
    since = times - wave.cancelled_s
    users = _Users(view, replica)
    theirs = users.at_most(times) + SYNTHETIC
    block = _kv_of_one(view, replica)
    excess = {
        "running": looks["running"] - theirs,
        "waiting": looks["waiting"] - theirs,
        "kv": looks["kv_usage_ratio"] - block * theirs,
    }
    made = looks["generation_tokens_total"]
    others = users.tokens(float(times[0]), float(times[-1])) + TOKENS_SLACK
    return Aftermath(
        wave,
        replica,
        running_back_s=_back(since, excess["running"]),
        waiting_back_s=_back(since, excess["waiting"]),
        kv_back_s=_back(since, excess["kv"]),
        tokens=float(made[-1] - made[0]) - others,
        period_s=float(np.median(np.diff(times))),
        running_left=float(excess["running"][-1]),
        kv_left=float(looks["kv_usage_ratio"].min() - block * users.at_most(times).min()),
    )


def fastest(view: RunView, replica: str) -> float:
    """Tokens per second in the replica's best second of the run. Unknown when it was not sampled for one."""
    samples = view.metrics(replica, "generation_tokens_total")
    times, values = samples["t_s"].to_numpy(dtype=float), samples["value"].to_numpy(dtype=float)
    later = np.searchsorted(times, times + 1.0)
    known = later < len(times)
    if not known.any():
        raise Unknown(f"the tokens of {replica} were sampled for less than a second")
    return float(((values[later[known]] - values[known]) / (times[later[known]] - times[known])).max())


def _looks(view: RunView, wave: Wave, replica: str) -> tuple[Floats, dict[str, Floats]]:
    """The close samples between the last cancel and the end of the watch, metric by metric."""
    begin, end = wave.cancelled_s, wave.watched_until_s
    if begin is None or end is None:
        raise Unknown(f"wave {wave.number} of {wave.phase} was not carried through")
    columns: dict[str, Floats] = {}
    times: Floats = np.zeros(0)
    for metric in ("running", "waiting", "kv_usage_ratio", "generation_tokens_total"):
        samples = view.metrics(replica, f"wave_{metric}")
        samples = samples[samples["t_s"].between(begin, end)]
        times, columns[metric] = samples["t_s"].to_numpy(dtype=float), samples["value"].to_numpy(dtype=float)
    gap = max(np.diff([begin, *times, end]), default=math.inf)
    if len(times) < 3 or len({len(values) for values in columns.values()}) != 1 or gap > GAP_MAX_S:
        raise Unknown(f"{replica} was not sampled for {gap:.1f} s after wave {wave.number} of {wave.phase}")
    return times, columns


def _back(since: Floats, excess: Floats) -> float:
    """From when on nothing is left over."""
    left = np.flatnonzero(excess > 1e-9)
    if not len(left):
        return float(since[0])
    return float(since[left[-1] + 1]) if left[-1] + 1 < len(since) else math.inf


def _kv_of_one(view: RunView, replica: str) -> float:
    """The most that one user's stream held of the KV cache in the baseline."""
    kv = view.metrics(replica, "kv_usage_ratio", phase=view.baseline)["value"].to_numpy(dtype=float)
    running = view.metrics(replica, "running", phase=view.baseline)["value"].to_numpy(dtype=float)
    if view.baseline is None or len(kv) != len(running) or not len(kv) or not kv.max():
        raise Unknown(f"the baseline does not tell how much of the KV cache a stream holds in {replica}")
    return float((kv / np.maximum(running, 1.0)).max())


class _Users:
    """The attempts of users that a replica may have worked on."""

    def __init__(self, view: RunView, replica: str) -> None:
        rows = view.requests[view.requests["first_byte_sent_s"].notna()]
        worker = rows["replica"].where(rows["replica"].notna(), rows["gateway_replica"])
        rows = rows[worker.eq(replica) | worker.isna()]
        self._begin: Floats = rows["first_byte_sent_s"].to_numpy(dtype=float)
        self._end: Floats = (rows["start_s"] + rows["e2e_ms"].fillna(0) / 1000).to_numpy(dtype=float)
        first = rows["start_s"] + rows["ttft_ms"].fillna(rows["e2e_ms"]).fillna(0) / 1000
        self._first: Floats = first.to_numpy(dtype=float)
        made: pd.Series = rows["output_tokens"].fillna(rows["content_events"]).fillna(0)
        self._tokens: Floats = made.to_numpy(dtype=float)

    def at_most(self, times: Floats) -> Floats:
        """How many of them it can have had at each of these times, as its gauges tell it."""
        begun = np.searchsorted(np.sort(self._begin), times, side="right")
        ended = np.searchsorted(np.sort(self._end), times - LAG_S, side="left")
        return (begun - ended).astype(float)

    def tokens(self, begin: float, end: float) -> float:
        """How many of their tokens were made in that stretch: those of a stream evenly from its first to its end."""
        overlap = np.minimum(self._end, end) - np.maximum(self._first, begin)
        share = np.clip(overlap / np.maximum(self._end - self._first, 1e-3), 0.0, 1.0)
        return float(np.where(overlap > 0, np.ceil(share * self._tokens), 0.0).sum())
