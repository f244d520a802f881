"""Replicas made the tokens that somebody asked them for: their counters and the clients' records agree.

A replica's counter is read before the first request and after the last one. Between the two it must have grown by the
tokens of the streams that ended well and of the harness' own requests: by exactly these when nothing else happened.
A stream that broke or was cancelled, and a try that a gateway gave up on, cost an unknown number: at least what the
client saw, at most what the replica could make from the start until one second after the end.

The counter of a replica that a fault has restarted began anew: then what came after the last start is compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.evidence.attempts import Rows
from harness.evidence.record import ANY_REPLICA
from harness.evidence.view import RunView
from harness.judge.checks.fault_window import given_s
from harness.judge.checks.shapes import asks
from harness.judge.drill import Reading
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status, worst

NAME = "replica counters and client records agree"
OBJECTIVE = "0 tokens too many or too few"
#: So long a replica may go on for a client that has gone.
STOPS_WITHIN_S = 1.0
#: A counter may move so long after the answer was complete.
COUNTED_WITHIN_S = 0.2
#: Who asks for tokens besides users (harness/probes/own_tokens.py).
OTHERS = ("harness", "exporter")
#: The readings that it compares, and some more, so that one is among them around which little went on.
BEFORE_LOAD = (
    *(Reading("own_tokens_asked_total", 2, f"by={by}") for by in OTHERS),
    Reading("generation_tokens_total", 4, ""),
)
#: What the replicas counted once the last stream had ended, then what others than users had asked of them until then.
AFTER_LOAD = (Reading("generation_tokens_total", 4), Reading("own_tokens_asked_total", 3))
#: Outcomes of whole answers: their usage is what the replica counted.
_WHOLE = ("ok", "empty", "wrong_model")
#: Outcomes of answers that a replica gave before it made any token.
_REFUSED = ("shed_429", "shed_503", "http_4xx")

Floats = npt.NDArray[np.float64]


class Bounds(NamedTuple):
    """A number of tokens that is known to lie between two; equal when it is known exactly."""

    low: float
    high: float


class _Unsure(Exception):
    """A replica's tokens cannot be counted in this run; the message says why. ``ordered``: a fault restarted it."""

    def __init__(self, why: str, ordered: bool = False) -> None:
        super().__init__(why)
        self.ordered = ordered


@dataclass(frozen=True)
class _Reading:
    """A counter's value, read after ``after_s`` and not later than ``by_s``."""

    value: float
    after_s: float
    by_s: float


@asks(
    "counters-agree",
    NAME,
    "Did each replica make the tokens that were asked of it, and no others?",
    "replicas",
    timing=False, objective=OBJECTIVE, before_load=BEFORE_LOAD, after_load=AFTER_LOAD,
)  # fmt: skip
def check(view: RunView) -> CheckResult:
    """The check, over the whole run."""
    rows = view.requests
    if rows["first_byte_sent_s"].isna().all():
        raise NotMeasured("no request was sent", 0)
    found = [_compare(view, replica) for replica in view.replicas]
    judged = [one for one in found if not one.ordered]
    status = worst(one.status for one in judged)
    off = max((one.off for one in judged if one.off is not None), default=None)
    why = "; ".join(one.why for one in sorted(found, key=lambda one: one.status is not status))
    margin = None if off is None else 0.0 - off
    details = {
        one.replica: {"status": one.status, "why": one.why, "counted": one.counted, "recorded": one.recorded}
        for one in found
    }
    return CheckResult("", status, why, measured=off, unit="tokens", margin=margin, samples=len(rows), details=details)


@dataclass(frozen=True)
class _Compared:
    """One replica: what it counted, what the records allow, and how far one is off the other."""

    replica: str
    status: Status
    why: str
    off: float | None = None
    counted: float | None = None
    recorded: tuple[float, float] | None = None
    ordered: bool = False


def _compare(view: RunView, replica: str) -> _Compared:
    since = -math.inf
    try:
        since = _last_start_s(view, replica)
        begin, end = _readings(view, replica, since)
        users = _of_users(view, replica, begin, end, since)
        allowed = _sum([users, *_of_others(view, replica, begin, end)])
    except _Unsure as error:
        ordered = error.ordered or since > -math.inf
        what = f"{replica}, which a fault restarted, is left out" if ordered else f"{replica} cannot be compared"
        return _Compared(replica, Status.INCONCLUSIVE, f"{what}: {error}", ordered=ordered)
    made = end.value - begin.value
    off = max(allowed.low - made, made - allowed.high, 0.0)
    records = f"{allowed.low:.0f}" if allowed.low == allowed.high else f"{allowed.low:.0f} to {allowed.high:.0f}"
    if off == 0:
        why = f"{replica} made {made:.0f} tokens, the records say {records}"
    else:
        what = "that nobody asked for" if made > allowed.high else "that clients got are missing"
        why = f"{replica} made {made:.0f} tokens, but the records say {records}: {off:.0f} {what}"
    return _Compared(replica, Status.FAIL if off else Status.PASS, why, off, made, (allowed.low, allowed.high))


# ── the replica's own counter ──


def _last_start_s(view: RunView, replica: str) -> float:
    """When the counter was first seen after faults had restarted the replica; before everything when none has."""
    samples = view.metrics(replica, "generation_tokens_total")
    anew = samples["t_s"][samples["value"].diff().lt(0)]
    if not _ordered(view, replica):
        return -math.inf
    if anew.empty:
        raise _Unsure("it restarted during the load", ordered=True)
    return float(anew.max())


def _readings(view: RunView, replica: str, since: float) -> tuple[_Reading, _Reading]:
    """The counter before the first request and after the last: the readings with the least going on around them.

    After a start at ``since`` the first request is the first that the replica itself was given.
    """
    samples = view.metrics(replica, "generation_tokens_total")
    samples = samples[samples["t_s"].ge(since)]
    times, values = samples["t_s"].to_numpy(dtype=float), samples["value"].to_numpy(dtype=float)
    rows = view.requests
    first, last = _span(rows)
    if since > -math.inf:
        given = rows[rows["replica"].eq(replica) & rows["end_s"].ge(since)]
        first = float(given_s(given).min()) if len(given) else last
    last += COUNTED_WITHIN_S
    readings = [_Reading(float(values[i]), float(times[i - 1]), float(times[i])) for i in range(1, len(times))]
    before = [one for one in readings if one.by_s <= first]
    after = [one for one in readings if one.after_s >= last]
    inside = (times >= (before[0].after_s if before else first)) & (times <= (after[-1].by_s if after else last))
    if (np.diff(values[inside]) < 0).any() or (since == -math.inf and _restarted(view, replica)):
        raise _Unsure("it restarted during the load")
    for found, when in ((before, "before the first request"), (after, "after the last one had ended")):
        if not found:
            raise _Unsure(f"its counter was not sampled {when}")
    others = [_Others(view, by, replica) for by in OTHERS]
    return (
        min(reversed(before), key=lambda one: sum(other.unsure_at(one) for other in others)),
        min(after, key=lambda one: sum(other.unsure_at(one) for other in others)),
    )


def _span(rows: Rows) -> tuple[float, float]:
    """From the first attempt's start to the last one's end."""
    return float(rows["start_s"].min()), float(rows["end_s"].max())


def _restarted(view: RunView, replica: str) -> bool:
    restarts = view.metrics(replica, "restarts_total")["value"]
    told = any(event.data.get("component") == replica for event in view.events("component_restarted"))
    return told or bool(restarts.diff().gt(0).any())


def _ordered(view: RunView, replica: str) -> bool:
    orders = [event.data for event in view.events("fault_injecting") if event.data.get("on") == replica]
    return any("restarts" in order.get("expected_disruptions", ()) for order in orders)


# ── what the harness and the exporter asked for ──


class _Others:
    """The sampled counters of one of ``OTHERS`` for one replica: tokens asked, ended, got."""

    def __init__(self, view: RunView, by: str, replica: str) -> None:
        self._who = f"what the {by} asked of {replica}" if replica != ANY_REPLICA else f"what the {by} asked"
        frames = [view.metrics(replica, f"own_tokens_{what}_total", f"by={by}") for what in ("asked", "ended", "got")]
        if len({len(frame) for frame in frames}) != 1 or len(frames[0]) < 2:
            raise _Unsure(f"{self._who} was not sampled")
        self._times: Floats = frames[0]["t_s"].to_numpy(dtype=float)
        self._asked, self._ended, self._got = (frame["value"].to_numpy(dtype=float) for frame in frames)
        self._failed = self._ended - self._got
        if min(np.diff(values).min() for values in (self._asked, self._ended, self._got)) < 0:
            raise _Unsure(f"the counters of {self._who} began anew")

    def between(self, begin: _Reading, end: _Reading) -> Bounds:
        """Tokens that it can have cost between two readings. One that failed may have cost any number it asked for."""
        b, a = self._before(begin.after_s), self._after(begin.by_s)
        known = self._got[self._before(end.after_s)] - self._got[a] - (self._asked[a] - self._ended[a])
        still = self._failed[self._before(begin.after_s - STOPS_WITHIN_S, 0)]
        return Bounds(max(float(known), 0.0), float(self._asked[self._after(end.by_s)] - self._got[b] - still))

    def unsure_at(self, reading: _Reading) -> float:
        """How many tokens may lie on either side of a reading; infinite when that was not sampled."""
        try:
            b, a = self._before(reading.after_s), self._after(reading.by_s)
        except _Unsure:
            return math.inf
        return float(self._asked[a] - self._ended[b])

    def _before(self, t_s: float, otherwise: int | None = None) -> int:
        """The last sample whose values were so at ``t_s``, or before."""
        index = int(np.searchsorted(self._times, t_s, side="right")) - 1
        if index < 0 and otherwise is None:
            raise _Unsure(f"{self._who} was not sampled before the load")
        return index if index >= 0 else int(otherwise or 0)

    def _after(self, t_s: float) -> int:
        """The first sample that was begun at ``t_s`` or later: the one before it had ended by then."""
        index = int(np.searchsorted(self._times, t_s, side="left")) + 1
        if index >= len(self._times):
            raise _Unsure(f"{self._who} was not sampled after the load")
        return index


def _of_others(view: RunView, replica: str, begin: _Reading, end: _Reading) -> Iterator[Bounds]:
    for by in OTHERS:
        yield _Others(view, by, replica).between(begin, end)
    # Crossings whose replica a gateway chose: this one may have made none of their tokens, or all.
    yield Bounds(0.0, _Others(view, OTHERS[0], ANY_REPLICA).between(begin, end).high)


# ── what users asked for ──


def _of_users(view: RunView, replica: str, begin: _Reading, end: _Reading, since: float) -> Bounds:
    """Tokens of all attempts that this replica may have worked on, since it was started."""
    rows = view.requests[view.requests["first_byte_sent_s"].notna()]
    rows = rows[rows["end_s"].ge(since)]
    worker = rows["replica"].where(rows["replica"].notna(), rows["gateway_replica"])
    tries = rows["gateway_retries"].astype(float).fillna(view.gateway_policy.get("retries", 0.0))
    mine = worker.eq(replica)
    refused = rows["outcome"].isin(_REFUSED) & rows["replica"].notna()
    whole = rows["outcome"].isin(_WHOLE) & rows["output_tokens"].notna() & rows["replica"].notna()
    cut = ~whole & ~refused & (mine | worker.isna())
    sure = float(rows["output_tokens"][whole & mine].sum())
    seen = float(rows["content_events"][cut & mine & rows["replica"].notna()].fillna(0).sum())
    # Tries that a gateway gave up on before the one that answered, if it did: by whichever replica.
    given_up, cut_off = rows[tries.gt(0)], rows[cut]
    begun = given_up["start_s"] + given_up["headers_ms"].fillna(given_up["e2e_ms"]).fillna(0) / 1000
    most = given_up["max_tokens"] * tries[tries.gt(0)]
    work = pd.concat(
        [
            pd.DataFrame({"from": cut_off["start_s"], "to": cut_off["end_s"], "most": cut_off["max_tokens"]}),
            pd.DataFrame({"from": given_up["start_s"], "to": begun, "most": most}),
        ]
    )
    return Bounds(sure + seen, sure + max(seen, _could_make(view, replica, work, begin, end)))


def _could_make(view: RunView, replica: str, work: pd.DataFrame, begin: _Reading, end: _Reading) -> float:
    """At most how many tokens the replica can have made for this work, until one second after its end."""
    if work.empty:
        return 0.0
    work = work.sort_values(["from", "to"])
    stop = work["to"].to_numpy(dtype=float) + STOPS_WITHIN_S
    reached = np.concatenate([[-math.inf], np.maximum.accumulate(stop)[:-1]])
    busy = float(np.maximum(stop - np.maximum(work["from"].to_numpy(dtype=float), reached), 0.0).cumsum()[-1])
    return min(float(work["most"].sum()), math.ceil(busy * _fastest(view, replica, begin, end)))


def _fastest(view: RunView, replica: str, begin: _Reading, end: _Reading) -> float:
    """Tokens per second in the replica's best second of the run."""
    samples = view.metrics(replica, "generation_tokens_total")
    samples = samples[samples["t_s"].between(begin.after_s, end.by_s)]
    times, values = samples["t_s"].to_numpy(dtype=float), samples["value"].to_numpy(dtype=float)
    later = np.searchsorted(times, times + 1.0)
    known = later < len(times)
    if not known.any():
        raise _Unsure("its counter was sampled for less than a second")
    return float(((values[later[known]] - values[known]) / (times[later[known]] - times[known])).max())


def _sum(parts: list[Bounds]) -> Bounds:
    return Bounds(sum(part.low for part in parts), sum(part.high for part in parts))
