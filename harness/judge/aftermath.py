"""What was left of a wave of cancelled streams in each replica, with everybody else's share subtracted.

Users go on asking while waves are on. What runs, waits, is held and is made for them is known from their own records;
it is taken at its most, so that none of it is blamed on the wave. What is left over is the wave's.

What happens between two looks nobody sees, and a look that was long in coming may show what was when it was asked for.
So whatever is said here is said as an interval, and a limit inside of it decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.evidence.attempts import Attempts
from harness.evidence.view import RunView
from harness.judge.slo import NotMeasured
from harness.model.artifacts.waves import ARTIFACT as WAVES
from harness.model.artifacts.waves import Wave
from harness.model.options import cancel_wave
from harness.model.verdict import Status

#: An engine's gauges tell what its last step found, and a client's record ends a bit before or after the engine's.
LAG_S = 0.3
#: A synthetic generation of the exporter, and one of a proof of the harness, may be in a replica at any time.
SYNTHETIC = 2.0
#: Tokens that those and the edges of a stretch may cost.
TOKENS_SLACK = 16.0
#: An engine that is seen more rarely gets no more time for that.
LOOK_MAX_S = 0.1
#: An engine hears of a cancel when the step ends that it is in; one that began within so much of the cancel matters.
STEP_BEGINS_S = 0.5
#: And excuses no more than this. Measured: 0.7 and 0.9 s for a step with two of the prompts of *prefill*, on one core.
STEP_MAX_S = 2.0
#: An engine has to be looked at for so long after the last cancel at least.
WATCHED_S = 0.7

Floats = npt.NDArray[np.float64]


class Unknown(NotMeasured):
    """The aftermath cannot be told; the message says why."""


@dataclass(frozen=True)
class Between:
    """Something that is at least and at most so much."""

    least: float
    most: float

    def within(self, limit: float) -> Status:
        """Surely no more than ``limit``, surely more, or nobody knows."""
        if self.least > limit:
            return Status.FAIL
        return Status.PASS if self.most <= limit else Status.INCONCLUSIVE


@dataclass(frozen=True)
class Aftermath:
    """One replica after one wave.

    Times are seconds after its last cancel: at least until the last look that showed too much was asked for, at most
    until the next one, which is never (infinite) when it was the last of all.
    """

    wave: Wave
    replica: str
    work_back_s: Between  # what runs and waits together: a stream in the queue is work still to come
    waiting_back_s: Between
    kv_back_s: Between
    tokens: Between  # made after the last cancel, less what others can have got
    step_s: float  # the longest that nothing changed in the engine, of what began soon after the cancel
    period_s: float  # between two looks
    work_left: float  # at the last look
    kv_left: float  # held by nobody who runs, in the look that showed least of it


@dataclass(frozen=True)
class Judged:
    """What a limit says about all waves of a phase: ``found`` are those replicas after waves that decided it."""

    status: Status
    found: tuple[Aftermath, ...]
    why: str = ""  # what was missing where nothing could be decided


def judge(view: RunView, phase: str, kept: Callable[[Aftermath], Status]) -> Judged:
    """Whether the limit ``kept`` was kept after every wave of a phase by every replica.

    Once broken is broken. It was kept when that could be seen of as many whole waves as the scenario asks for: a wave
    that was not seen well enough has been repeated.
    """
    decided: dict[Status, list[Aftermath]] = {status: [] for status in Status}
    whole, why = 0, f"no wave of {phase} was cancelled at its moment"
    for wave in reached(view, phase):
        statuses = []
        for replica in view.replicas:
            try:
                one = after(view, wave, replica)
            except Unknown as error:
                statuses.append(Status.INCONCLUSIVE)
                why = str(error)
            else:
                statuses.append(kept(one))
                decided[statuses[-1]].append(one)
        whole += all(status is Status.PASS for status in statuses)
    if decided[Status.FAIL]:
        return Judged(Status.FAIL, tuple(decided[Status.FAIL]))
    if whole and whole >= _planned(view, phase):
        return Judged(Status.PASS, tuple(decided[Status.PASS]))
    if unclear := decided[Status.INCONCLUSIVE]:
        one = unclear[0]
        why = f"{one.replica} was not seen well enough after wave {one.wave.number} of {phase} to tell: a look"
        why += f" every {1000 * one.period_s:.0f} ms, and nothing changed in it for {one.step_s:.2f} s"
    return Judged(Status.INCONCLUSIVE, (), why)


def seen(view: RunView, phase: str) -> list[dict[str, Aftermath]]:
    """The waves of a phase after which every replica was looked at, in order. Unknown when there are none."""
    found = []
    why = f"no wave of {phase} was cancelled at its moment"
    for wave in reached(view, phase):
        try:
            found.append({replica: after(view, wave, replica) for replica in view.replicas})
        except Unknown as error:
            why = str(error)
    if not found:
        raise Unknown(why)
    return found


def after(view: RunView, wave: Wave, replica: str) -> Aftermath:
    """What was left of ``wave`` in ``replica``. Unknown when that was not sampled well enough.

    Several checks need it of every wave: results are cached for the lifetime of the view.
    """
    known = _known(view)
    key = (id(wave), replica)  # the view keeps its waves alive, so an id is not reused
    if key not in known.after:
        try:
            known.after[key] = _after(view, wave, replica)
        except Unknown as error:
            known.after[key] = str(error)
    found = known.after[key]
    if isinstance(found, str):
        raise Unknown(found)
    return found


@dataclass
class _Known:
    """Cached results of one view; a string says why a result is unknown."""

    after: dict[tuple[int, str], Aftermath | str] = field(default_factory=dict)
    users: dict[str, _Users] = field(default_factory=dict)


_KNOWN: WeakKeyDictionary[RunView, _Known] = WeakKeyDictionary()


def _known(view: RunView) -> _Known:
    return _KNOWN.setdefault(view, _Known())


def _users(view: RunView, component: str) -> _Users:
    """Of a replica or a gateway."""
    known = _known(view).users
    if component not in known:
        rows = view.requests[view.requests["first_byte_sent_s"].notna()]
        at, name = rows["replica"].where(rows["replica"].notna(), rows["gateway_replica"]), component
        if component in view.gateways:
            at, name = rows["gateway"], view.address_of(component)
        known[component] = _Users(rows[at.eq(name) | at.isna()])
    return known[component]


def _after(view: RunView, wave: Wave, replica: str) -> Aftermath:
    assert wave.cancelled_s is not None, "waves that were reached were cancelled"
    looks = _looks(view, wave, replica)
    before = looks[looks.index < wave.cancelled_s]
    since = looks[looks.index >= wave.cancelled_s]
    if before.empty or len(since) < 3 or since.index[-1] < wave.cancelled_s + WATCHED_S:
        raise Unknown(f"{replica} was not looked at for long enough after wave {wave.number} of {wave.phase}")
    times: Floats = since.index.to_numpy(dtype=float)
    users = _users(view, replica)
    theirs = users.at_most(times) + SYNTHETIC
    block = _kv_of_one(view, replica)
    late = times - wave.cancelled_s
    asked = since["asked_s"].to_numpy(dtype=float) - wave.cancelled_s
    work = (since["running"] + since["waiting"]).to_numpy() - theirs
    held = since["kv_usage_ratio"] - block * since["running"]
    # At least: since the first look that was asked for after the cancel.
    after_it = since[since["asked_s"] >= wave.cancelled_s]
    least = _made(users, looks, float(after_it.index[0])) if len(after_it) else 0.0
    # At most: since the last look before the cancel, or since the beginning but for what the wave's clients have got.
    got = sum(stream.tokens for stream in wave.streams if stream.replica == replica)
    most = min(_made(users, looks, float(before.index[-1])), _made(users, looks, float(before.index[0])) - got)
    return Aftermath(
        wave,
        replica,
        work_back_s=_back(asked, late, work),
        waiting_back_s=_back(asked, late, since["waiting"].to_numpy() - theirs),
        kv_back_s=_back(asked, late, since["kv_usage_ratio"].to_numpy() - block * theirs),
        tokens=Between(least, max(least, most)),
        step_s=_step_s(since.drop(columns="asked_s"), late),
        period_s=float(np.median(np.diff(times))),
        work_left=float(work[-1]),
        kv_left=max(float(held.min()), 0.0),
    )


def let_go_s(view: RunView, wave: Wave, gateway: str) -> Between:
    """Seconds from the last cancel of ``wave`` until ``gateway`` held no more sessions than others had asked for.

    Those with a replica, and those in its queue. Unknown when that was not sampled until ``WATCHED_S`` after it.
    """
    assert wave.cancelled_s is not None, "only a wave that was cancelled is let go"
    held = [
        view.metrics(gateway, metric).groupby("t_s")["value"].sum()
        for metric in ("server_sessions_current", "queue_current")
    ]
    sessions = sum(held[1:], held[0]).dropna()
    until = wave.cancelled_s + WATCHED_S if wave.watched_until_s is None else wave.watched_until_s
    times: Floats = sessions.index.to_numpy(dtype=float)
    since = np.flatnonzero((times >= wave.cancelled_s) & (times <= until))
    if len(since) < 3 or times[since[-1]] < wave.cancelled_s + WATCHED_S:
        raise Unknown(f"{gateway} was not looked at for long enough after wave {wave.number} of {wave.phase}")
    others = _users(view, gateway).at_most(times[since]) + SYNTHETIC
    # When a sample was asked for is not recorded: not before the one before it was there.
    asked = times[np.maximum(since - 1, 0)] - wave.cancelled_s
    return _back(asked, times[since] - wave.cancelled_s, sessions.to_numpy(dtype=float)[since] - others)


def reached(view: RunView, phase: str) -> list[Wave]:
    """The waves of a phase that were cancelled at their moment."""
    return [
        wave for wave in view.artifact(WAVES) if wave.phase == phase and wave.reached and wave.cancelled_s is not None
    ]


def _planned(view: RunView, phase: str) -> int:
    """How many waves the scenario asks for in a phase."""
    faults = [fault for one in view.planned_phases if one["name"] == phase for fault in one["faults"]]
    asked = [cancel_wave.Options.stored(fault["options"]) for fault in faults if fault["type"] == "cancel_wave"]
    return sum(options.waves for options in asked)


def _made(users: _Users, looks: pd.DataFrame, since_s: float) -> float:
    """Tokens made from a look to the last one that others cannot have got."""
    made = looks["generation_tokens_total"]
    others = users.tokens(since_s, float(looks.index[-1])) + TOKENS_SLACK
    return float(made.iloc[-1] - made.loc[since_s]) - others


def fastest(view: RunView, replica: str) -> float:
    """Tokens per second in the replica's best second of the run. Unknown when it was not sampled for one."""
    samples = view.metrics(replica, "generation_tokens_total")
    times, values = samples["t_s"].to_numpy(dtype=float), samples["value"].to_numpy(dtype=float)
    later = np.searchsorted(times, times + 1.0)
    known = later < len(times)
    if not known.any():
        raise Unknown(f"the tokens of {replica} were sampled for less than a second")
    return float(((values[later[known]] - values[known]) / (times[later[known]] - times[known])).max())


def _looks(view: RunView, wave: Wave, replica: str) -> pd.DataFrame:
    """The close samples from the beginning of a wave to the end of the watch: a column per metric, by time."""
    columns = {
        metric: view.metrics(replica, f"wave_{metric}").set_index("t_s")["value"]
        for metric in ("asked_s", "running", "waiting", "kv_usage_ratio", "generation_tokens_total")
    }
    looks = pd.DataFrame(columns).dropna().astype(float)
    until = math.inf if wave.watched_until_s is None else wave.watched_until_s
    return looks[(looks.index >= wave.began_s) & (looks.index <= until)]


def _step_s(gauges: pd.DataFrame, late: Floats) -> float:
    """How long the longest step took at least in which the engine was soon after the cancel.

    While it is in one nothing changes although something runs: equal looks, close to each other. ``late`` are their
    seconds after the cancel.
    """
    anew = gauges.ne(gauges.shift()).any(axis=1).to_numpy() | (np.diff(late, prepend=-math.inf) > LOOK_MAX_S)
    steps = pd.DataFrame({"late": late, "step": np.cumsum(anew)})[gauges["running"].gt(0).to_numpy()]
    ends = steps.groupby("step")["late"].agg(["first", "last"])
    soon = ends[ends["first"] <= STEP_BEGINS_S]
    return min(float((soon["last"] - soon["first"]).max()), STEP_MAX_S) if len(soon) else 0.0


def _back(asked: Floats, since: Floats, excess: Floats) -> Between:
    """From when on nothing is left over, but for blips: what has gone does not come back for less than LAG_S.

    ``excess`` is what looks showed that were asked for at ``asked`` and there at ``since``, seconds after the cancel.
    """
    left = excess > 1e-9
    for begin, end in _stretches(left):
        if begin and end < len(since) and since[end] - since[begin] < LAG_S:
            left[begin:end] = False
    still = np.flatnonzero(left)
    if not len(still):
        return Between(0.0, float(since[0]))
    last = int(still[-1])
    return Between(max(float(asked[last]), 0.0), float(since[last + 1]) if last + 1 < len(since) else math.inf)


def _stretches(marks: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where each run of True begins and what comes after it."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marks, [False]])))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


def _kv_of_one(view: RunView, replica: str) -> float:
    """The most that one user's stream held of the KV cache in the baseline."""
    kv = view.metrics(replica, "kv_usage_ratio", phase=view.baseline)["value"].to_numpy(dtype=float)
    running = view.metrics(replica, "running", phase=view.baseline)["value"].to_numpy(dtype=float)
    if view.baseline is None or len(kv) != len(running) or not len(kv) or not kv.max():
        raise Unknown(f"the baseline does not tell how much of the KV cache a stream holds in {replica}")
    return float((kv / np.maximum(running, 1.0)).max())


class _Users:
    """The attempts of users that a component may have worked on."""

    def __init__(self, rows: Attempts) -> None:
        self._begin: Floats = rows["first_byte_sent_s"].to_numpy(dtype=float)
        self._end: Floats = rows["end_s"].to_numpy(dtype=float)
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
