"""The capacity of a stack: what was measured, what it is worth, and how it is searched for. Plain data, pure functions.

A *step* is closed-loop load at one concurrency. It *holds* when at least 95 % of its requests were good and within
every limit. Capacity is the highest concurrency that holds, found by doubling, then bisecting.
``harness/run/measuring.py`` takes the steps on a live stack, ``harness/plan/capacity_store.py`` keeps what came of them
for each machine.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.judge import validity
from harness.model.alert_rules import E2E_P95_MAX_S, EXECUTION_P95_MAX_S, TTFT_P95_MAX_S

HOLDS_SHARE = 0.95
#: A step lasts until so many requests have ended, within these bounds.
STEP_REQUESTS = 40
STEP_S_MIN, STEP_S_MAX = 5.0, 15.0
#: Limits of one request in steady state (docs/metrics.md): the 95th percentiles of the promises.
TTFT_MS_MAX = 1000 * TTFT_P95_MAX_S
EXECUTION_MS_MAX = 1000 * EXECUTION_P95_MAX_S
E2E_MS_MAX = 1000 * E2E_P95_MAX_S
#: How the doubt about a disturbed measuring begins.
DISTURBED = "interference: "
#: Why a search went no further although its highest step held: the stack may carry more.
NO_MORE_USERS, TIME_OVER = "no more users with keys of their own", "the time for the search was over"
#: The search ends when what holds and what does not lie so close together.
RESOLUTION = 0.2
#: A share of all answers below or above its even share by more than this factor is no shared load.
UNEVEN = 2.0
#: One-sided 95 % of a normal distribution: how far a rate of n counted requests strays, in units of 1/√n.
_Z95 = 1.645
#: From these on, what was sampled is called the reason why a step does not hold.
_KV_FULL, _CPU_FULL = 0.95, 0.9


@dataclass(frozen=True)
class Signals:
    """What was sampled beside a step, as its highest value, ``busy`` as its mean; None where it was not sampled."""

    engine_waiting: float | None = None  # requests in all engines' queues
    kv_usage: float | None = None  # 0–1, of the fullest replica
    gateway_queue: float | None = None
    generator_cpu: float | None = None  # cores
    lag_p99_ms: float | None = None
    busy: float | None = None  # 0–1, of all cores that we may use


@dataclass(frozen=True)
class Step:
    """One concurrency, measured. Times are those of the folder that it was recorded in, in seconds."""

    concurrency: int
    begin_s: float
    end_s: float
    ended: int  # requests that ended in it
    served: int  # of those, with outcome ok
    good: int  # of those, within every limit as well
    tokens: int
    replicas: int  # how many were there to share the load
    by_replica: Mapping[str, int] = field(default_factory=dict)
    wrong: int | None = None  # whole answers that were not the right one; None where nobody knows the right one
    ttft_ms: float | None = None  # medians of what was served
    tps: float | None = None
    refused: int = 0  # 429 and 503
    signals: Signals = Signals()
    lost: float | None = None  # share of the machine that others used meanwhile, at most; None: not sampled

    @property
    def seconds(self) -> float:
        """How long it was measured."""
        return self.end_s - self.begin_s

    @property
    def rate_per_s(self) -> float:
        """Requests served per second."""
        return self.served / self.seconds if self.seconds > 0 else 0.0

    @property
    def tokens_per_s(self) -> float:
        """Output tokens per second."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def holds(self) -> bool:
        """Whether enough ended well. A step in which not every user was answered once has not shown that it holds."""
        return self.ended >= max(self.concurrency, 1) and self.good >= HOLDS_SHARE * self.ended

    @property
    def uneven(self) -> str | None:
        """Which replica had less than half or more than twice its even share; None when all shared the load."""
        total = sum(self.by_replica.values())
        even = total / self.replicas if self.replicas else 0.0
        if not even:
            return "no replica answered"
        if missing := self.replicas - len(self.by_replica):
            return f"{missing} of {self.replicas} replicas answered nothing"
        for name, count in sorted(self.by_replica.items()):
            if not even / UNEVEN <= count <= even * UNEVEN:
                return f"{name} gave {count} of {total} answers"
        return None


class Search:
    """Doubling, then bisecting, between 1 and ``highest``; ``next`` is the concurrency to try, None at the end."""

    def __init__(self, first: int, highest: int) -> None:
        self._first, self._highest = min(first, highest), highest
        self._holds, self._fails = 0, highest + 1

    def next(self) -> int | None:
        """Where to look now."""
        if self._fails > self._highest:
            if self._holds >= self._highest:
                return None
            return min(max(2 * self._holds, self._first), self._highest)
        if self._fails - self._holds <= max(1.0, RESOLUTION * self._fails):
            return None
        return (self._holds + self._fails) // 2

    def saw(self, step: Step) -> None:
        """Take in what a step has shown."""
        if step.holds:
            self._holds = max(self._holds, step.concurrency)
        else:
            self._fails = min(self._fails, step.concurrency)


@dataclass(frozen=True)
class Point:
    """The highest load that holds. ``low`` and ``high`` bound the rate, in requests per second."""

    concurrency: int
    rate_per_s: float
    tokens_per_s: float
    low: float
    high: float
    why: str  # it ends there

    @property
    def text(self) -> str:
        """``8.2/s (7.1 to 9.3), 254 tokens/s, 8 at a time``; «at least» where no higher load was seen to fail."""
        span = f"{self.low:.3g} to {self.high:.3g}"
        text = f"{self.rate_per_s:.3g}/s ({span}), {self.tokens_per_s:,.0f} tokens/s, {self.concurrency} at a time"
        return f"at least {text}" if self.open else text

    @property
    def open(self) -> bool:
        """Whether no higher load was tried: the stack may carry more."""
        return self.why in (NO_MORE_USERS, TIME_OVER)


def point(steps: Sequence[Step], unfinished: bool = False) -> Point | None:
    """The highest concurrency of ``steps`` that holds; None when none does. ``unfinished``: the search ran out of time.

    One measurement has the interval in which a rate of so many requests lies (95 %, one-sided, either way).
    """
    best = _best(steps)
    if best is None:
        return None
    beyond = min((s for s in steps if s.concurrency > best.concurrency), key=lambda s: s.concurrency, default=None)
    half = best.rate_per_s * _uncertainty(best)
    end = TIME_OVER if unfinished else NO_MORE_USERS
    why = end if beyond is None else reason(beyond)
    low, high = max(0.0, best.rate_per_s - half), best.rate_per_s + half
    return Point(best.concurrency, best.rate_per_s, best.tokens_per_s, low, high, why)


def reason(step: Step) -> str:
    """Why a step does not hold, as far as what was sampled beside it tells."""
    seen = step.signals
    if step.refused > (1 - HOLDS_SHARE) * step.ended:
        return f"rate limit or admission: {step.refused} of {step.ended} requests were refused"
    if (seen.generator_cpu or 0) > validity.CPU_MAX or (seen.lag_p99_ms or 0) > validity.LAG_DEFAULT_MS:
        return "generator: it used a whole core or was late"
    if (seen.kv_usage or 0) >= _KV_FULL:
        return f"KV cache: {seen.kv_usage:.0%} full"
    if (seen.gateway_queue or 0) >= 1:
        return f"gateway queue: {seen.gateway_queue:.0f} requests waited"
    if (seen.engine_waiting or 0) >= 1:
        return f"engine queue: {seen.engine_waiting:.0f} requests waited"
    if (seen.busy or 0) >= _CPU_FULL:
        return f"processor: {seen.busy:.0%} busy"
    return f"latency: {step.good} of {step.ended} requests were good and within the limits"


@dataclass(frozen=True)
class Capacity:
    """What a stack can carry: with all replicas, and with one fewer (None where that was not measured).

    ``provisional`` says why it may not be accepted; empty when it may. ``measured`` is a time with its zone (ISO 8601).
    ``marks`` are what it was measured with: versions, model, policy, commit.
    """

    whole: Point | None
    without: Point | None
    ttft_ms: float | None  # at one stream
    tps: float | None
    cache_hit_ratio: float | None
    measured: str
    repeats: int = 1
    provisional: tuple[str, ...] = ()
    saturated_per_s: float = 0.0  # the highest rate of any step, whether it held or not
    hopeless: str = ""  # why the search was ended early: nothing that it could have found is enough
    marks: Mapping[str, Any] = field(default_factory=dict)

    def per_s(self, without_replica: bool) -> float:
        """Requests per second that hold; 0 when no step held."""
        found = self.without if without_replica else self.whole
        return found.rate_per_s if found is not None else 0.0

    @property
    def lines(self) -> list[str]:
        """For people."""
        ttft = "not measured" if self.ttft_ms is None else f"{self.ttft_ms:.0f} ms"
        tps = "not measured" if self.tps is None else f"{self.tps:.3g} tokens/s"
        hits = "not shown by the engine" if self.cache_hit_ratio is None else f"{self.cache_hit_ratio:.0%}"
        nothing = "nothing holds: not even one stream was within the limits"
        without = nothing if self.whole is None else "not measured"
        ended = "search ended by  " if self.whole and self.whole.open else "ends there by    "
        return [
            f"all replicas      {self.whole.text if self.whole else nothing}",
            *([f"{ended} {self.whole.why}"] if self.whole else []),
            f"without one       {self.without.text if self.without else without}",
            f"at one stream     TTFT {ttft}, {tps}; prefix cache hits {hits}",
        ]


@dataclass(frozen=True)
class Measured:
    """One measuring, before it is judged."""

    whole: Sequence[Step]
    without: Sequence[Step]
    single: Step | None
    cache_hit_ratio: float | None
    measured: str
    defects: Sequence[str] = ()
    stopped: str = ""  # why more steps were of no use
    unfinished: bool = False  # the time was over before a step did not hold
    marks: Mapping[str, Any] = field(default_factory=dict)


def judge(found: Measured) -> Capacity:
    """What one measuring is worth."""
    single = found.single
    steps = [*([single] if single else []), *found.whole]
    best = point(steps, found.unfinished)
    return Capacity(
        whole=best,
        without=point(found.without, unfinished=True),
        ttft_ms=single.ttft_ms if single else None,
        tps=single.tps if single else None,
        cache_hit_ratio=found.cache_hit_ratio,
        measured=found.measured,
        provisional=_doubts(found, best),
        saturated_per_s=max((step.rate_per_s for step in steps), default=0.0),
        hopeless=found.stopped,
        marks=found.marks,
    )


def _doubts(found: Measured, best: Point | None) -> tuple[str, ...]:
    """Why it may not be accepted. The load has to be shared where there was enough of it to tell."""
    doubts = []
    if disturbed := _disturbed(found):
        doubts.append(f"{DISTURBED}{disturbed}")
    if best is None:
        doubts.append("no step held")
    elif found.whole and found.whole[0].replicas > 1 and point(found.without, unfinished=True) is None:
        doubts.append("no step held with one replica fewer" if found.without else "one replica fewer was not measured")
    if found.stopped:
        doubts.append(found.stopped)
    if found.defects:
        doubts.append(f"defects are switched on: {', '.join(found.defects)}")
    every = [*([found.single] if found.single else []), *found.whole, *found.without]
    if wrong := sum(step.wrong or 0 for step in every):
        doubts.append(f"{wrong} answers were wrong")
    shared = [step for step in every if step.served >= STEP_REQUESTS / 2]
    if uneven := [f"{step.uneven} at {step.concurrency} at a time" for step in shared if step.uneven]:
        doubts.append(f"the replicas did not share the load: {uneven[0]}")
    return tuple(doubts)


def _disturbed(found: Measured) -> str:
    """Interference in the deciding steps that may have moved the value, in words; "" without any.

    Bounds, as shares of the machine: of a step that holds the half width of its rate's interval, that of a full step at
    most (few requests have a wide one); of one that does not the share of requests that decides (1 − ``HOLDS_SHARE``).
    """
    most = _Z95 / math.sqrt(STEP_REQUESTS)
    single, edges = [found.single] if found.single else [], [*_edges(found.whole), *_edges(found.without)]
    for step in (*single, *edges):
        bound = 1 - HOLDS_SHARE if not step.holds else min(_uncertainty(step), most)
        if step.lost is None:
            return "the machine was not watched"
        if step.lost > bound:
            return f"others used up to {step.lost:.0%} of the machine at concurrency {step.concurrency}"
    return ""


def _edges(steps: Sequence[Step]) -> list[Step]:
    """The steps that decide: the one that the value comes from, and the lowest that does not hold."""
    failed = [step for step in steps if not step.holds]
    best = _best(steps)
    return [*([best] if best else []), *([min(failed, key=lambda step: step.concurrency)] if failed else [])]


def _best(steps: Sequence[Step]) -> Step | None:
    """The highest step that holds, with none below it that does not; None without one."""
    fails = min((step.concurrency for step in steps if not step.holds), default=math.inf)
    held = (step for step in steps if step.holds and step.concurrency < fails)
    return max(held, key=lambda step: step.concurrency, default=None)


def _uncertainty(step: Step) -> float:
    """Half width of the interval of a step's rate, as a share of the rate (95 %, one-sided): 1.645/√n."""
    return _Z95 / math.sqrt(step.served) if step.served else math.inf


def pooled(repeats: Sequence[Capacity]) -> Capacity:
    """Several measurings of one stack as one: means, and the interval that they span. One doubtful one makes it so."""
    last = repeats[-1]
    if len(repeats) == 1:
        return last
    doubts = dict.fromkeys(doubt for one in repeats for doubt in one.provisional)
    return dataclasses.replace(
        last,
        whole=_pooled_point([one.whole for one in repeats]),
        without=_pooled_point([one.without for one in repeats]),
        ttft_ms=_mean([one.ttft_ms for one in repeats]),
        tps=_mean([one.tps for one in repeats]),
        cache_hit_ratio=_mean([one.cache_hit_ratio for one in repeats]),
        repeats=len(repeats),
        provisional=tuple(doubts),
        saturated_per_s=max(one.saturated_per_s for one in repeats),
    )


def _pooled_point(points: Sequence[Point | None]) -> Point | None:
    """The mean. Its interval holds every repeat, and is never narrower than so many requests allow."""
    known = [one for one in points if one is not None]
    if not known or len(known) < len(points):
        return None
    rate = statistics.fmean(one.rate_per_s for one in known)
    half = statistics.fmean((one.high - one.low) / 2 for one in known) / math.sqrt(len(known))
    return Point(
        concurrency=round(statistics.median(one.concurrency for one in known)),
        rate_per_s=rate,
        tokens_per_s=statistics.fmean(one.tokens_per_s for one in known),
        low=min(rate - half, *(one.rate_per_s for one in known)),
        high=max(rate + half, *(one.rate_per_s for one in known)),
        why=known[-1].why,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def regression(accepted: Capacity, later: Capacity) -> str | None:
    """The sentence that the stack carries less than it did, beyond the accepted value's interval; None when not.

    A provisional measurement shows nothing.
    """
    if later.provisional:
        return None
    for what, before, now in (
        ("all replicas", accepted.whole, later.whole),
        ("one replica fewer", accepted.without, later.without),
    ):
        if before is not None and now is not None and now.rate_per_s < before.low:
            down = 1 - now.rate_per_s / before.rate_per_s
            return (
                f"regression of the stack: with {what} it carried {before.rate_per_s:.3g}/s "
                f"({before.low:.3g} to {before.high:.3g}, {accepted.measured}) and now {now.rate_per_s:.3g}/s, "
                f"{down:.0%} less ({later.measured}); `capacity --accept` takes the new value"
            )
    return None


def as_data(capacity: Capacity) -> dict[str, Any]:
    """A capacity as JSON data."""
    return dataclasses.asdict(capacity)


def from_data(data: Mapping[str, Any]) -> Capacity:
    """The capacity that ``as_data`` made this of. KeyError, TypeError or ValueError when it is none."""
    _check_numbers(data, "ttft_ms", "tps", "cache_hit_ratio", "repeats", "saturated_per_s")
    points: dict[str, Point | None] = {"whole": None, "without": None}
    for name in points:
        if data[name] is not None:
            points[name] = Point(**data[name])
            _check_numbers(data[name], "concurrency", "rate_per_s", "tokens_per_s", "low", "high", known=True)
    return Capacity(**{**data, **points, "provisional": tuple(data["provisional"])})


def _check_numbers(data: Mapping[str, Any], *names: str, known: bool = False) -> None:
    """ValueError where one of these is there and no number that load could follow; ``known``: nor may it be null."""
    for name in names:
        value = data.get(name)
        if value is None and not (known and name in data):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value!r}, expected a number")
