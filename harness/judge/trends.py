"""Has a figure become worse over the nights, and since which one? Pure; docs/trends.md has what it finds and how often.

Change points are found by E-divisive: of all places the one whose two sides differ most by their energy distance
(Matteson and James, "A nonparametric approach for multiple change point analysis of multivariate data", 2014), then
each side again. A t-test takes the place of its permutations, and windows keep old nights from hiding new ones, as in
Hunter (Fleming and others, "Hunter: using change point detection to hunt for performance regressions", 2023).

A regression is a change point in the worse direction that is also large. A night without a valid value is a gap: it
counts neither as a value nor as a night.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.judge import chance

Values = NDArray[np.float64]

#: The significance level that a change point has to reach. One of many places is the best one by chance alone: so the
#: test asks for a twentieth of it, and of the newest level, which begins at one of few places, for a fifth.
ALPHA = 0.001
TRIES, TRIES_NEWEST = 20, 5
#: The level at which the search goes on splitting: a step may hide another one until both are known.
_ALPHA_SEARCH = 0.05
#: Values on either side of a change point. Fewer are outliers, and cannot be dated.
SIDE_MIN = 3
#: How much a short side is preferred when a change point is dated; measured (docs/trends.md). 0 is plain least squares.
_SHORTER = 3.0
#: What is left of the squares by rounding where a step has no noise, and where nothing ever changes.
_NOTHING, _TINY = 1e-12, 1e-300
#: Values that are searched at once, and how far apart the windows begin.
_WINDOW, _STRIDE = 50, 25
#: Values from which the level before and its spread are known: the last ones before the change.
BEFORE_MIN, BEFORE_MAX = 5, 30
#: A regression is larger than this part of the level before, and than so many times the spread.
SIZE_MIN = 0.1
SPREADS_MIN = 3.0


@dataclass(frozen=True)
class Regression:
    """A change for the worse: the indices are those of the series, gaps included.

    ``before`` and ``after`` are the mean levels on both sides in the series' unit, ``size_ratio`` is their difference
    as a share of ``before`` (infinite where that is 0), ``spread`` the mean absolute deviation before, also as a share
    (of normal noise: 0.8 of its standard deviation), ``p`` that of the t-test between both sides. ``until`` is the
    first value that was no longer worse; None while it lasts.
    """

    since: int
    until: int | None
    before: float
    after: float
    size_ratio: float
    spread: float
    p: float


def change_points(values: Sequence[float | None]) -> list[int]:
    """Where a new level begins: the indices of the first values of all levels but the first, oldest first."""
    places, series = _valid(values)
    return [places[split] for split in _splits(series)]


def regression(values: Sequence[float | None], worse: Literal["higher", "lower"]) -> Regression | None:
    """The newest regression that has not gone back yet."""
    lasting = [one for one in regressions(values, worse) if one.until is None]
    return lasting[-1] if lasting else None


def regressions(values: Sequence[float | None], worse: Literal["higher", "lower"]) -> list[Regression]:
    """All regressions, oldest first, also those that have gone back."""
    places, series = _valid(values)
    sign = 1.0 if worse == "higher" else -1.0
    bounds = [0, *_splits(series), len(series)]
    found = []
    for at in range(1, len(bounds) - 1):
        start, split, end = bounds[at - 1 : at + 2]
        before, after = _level_before(series, bounds[: at + 1]), series[split:end]
        if before is None:
            continue
        level, spread = float(before.mean()), spread_of(before)
        limit = max(SIZE_MIN * abs(level), SPREADS_MIN * spread)
        if not _is_worse(after, level, limit, sign):
            continue
        later = (one for one in bounds[at + 1 : -1] if not _lasts(series, bounds, one, level + sign * limit, sign))
        until = next(later, None)
        found.append(
            Regression(
                since=places[split],
                until=None if until is None else places[until],
                before=level,
                after=float(after.mean()),
                size_ratio=_share(abs(float(after.mean()) - level), level),
                spread=_share(spread, level),
                p=_p(series[start:split], after),
            )
        )
    return found


def _level_before(series: Values, bounds: list[int]) -> Values | None:
    """The last values of the last level that held long enough to be one; ``bounds`` ends where the new one begins.

    Else the end of a few good nights would be a regression, in series that never changed.
    """
    held = ((start, end) for start, end in pairwise(bounds) if end - start >= BEFORE_MIN)
    *_, last = (None, *held)
    return None if last is None else series[max(last[0], last[1] - BEFORE_MAX) : last[1]]


def _is_worse(after: Values, level: float, limit: float, sign: float) -> bool:
    """Whether the new level is worse by more than the limit, and already its first value by half of that.

    The second half dates it: of a step that is two nights old, the last good night would be taken for the first bad.
    """
    return sign * (float(after.mean()) - level) > limit and sign * (float(after[0]) - level) > limit / 2


def _lasts(series: Values, bounds: list[int], split: int, limit: float, sign: float) -> bool:
    """Whether the level that begins at ``split`` is still on the bad side of ``limit``."""
    end = bounds[bounds.index(split) + 1]
    return sign * (float(series[split:end].mean()) - limit) > 0


def _valid(values: Sequence[float | None]) -> tuple[list[int], Values]:
    """The indices of the values that are no gaps, and these values."""
    places = [at for at, value in enumerate(values) if value is not None and math.isfinite(value)]
    return places, np.array([values[at] for at in places], dtype=np.float64)


def spread_of(values: Values) -> float:
    """The mean absolute deviation from the mean, corrected for few values (two or more); in their unit."""
    return float(np.abs(values - values.mean()).mean()) * math.sqrt(len(values) / (len(values) - 1))


def _share(size: float, level: float) -> float:
    """``size`` as a part of ``level``; of no level, anything is infinitely much."""
    if level:
        return size / abs(level)
    return math.inf if size else 0.0


def _splits(series: Values) -> list[int]:
    """The change points of a series without gaps: what was found in any window, without what does not hold."""
    distances = np.abs(series[:, None] - series[None, :])
    found = {split for window in _windows(len(series)) for split in _search(series, distances, *window)}
    return _holding(series, _dated(series, _holding(series, sorted(found))))


def _holding(series: Values, splits: list[int]) -> list[int]:
    """Without those that do not hold, the weakest first: its neighbours may hold once it is gone."""
    while (weakest := _weakest(series, splits)) is not None:
        splits = [split for split in splits if split != weakest]
    return splits


def _windows(count: int) -> Iterator[tuple[int, int]]:
    """The windows over so many values, as (first, last + 1). One ends at the newest value."""
    end = count
    while end > _WINDOW:
        yield end - _WINDOW, end
        end -= _STRIDE
    yield 0, end


def _search(series: Values, distances: Values, start: int, end: int) -> Iterator[int]:
    """E-divisive between two indices: the best place, and those on both of its sides."""
    if end - start < 2 * SIDE_MIN:
        return
    split, until = (start + one for one in _best_split(distances[start:end, start:end]))
    if _p(series[start:split], series[split:until]) < _ALPHA_SEARCH:
        yield split
        yield from _search(series, distances, start, split)
        yield from _search(series, distances, split, end)


def _best_split(distances: Values) -> tuple[int, int]:
    """Where all before and what follows differ most, and the end of that: it may have gone back before the last value.

    They differ by their energy distance, weighted by their sizes; ``distances`` are those between all pairs of values.
    """
    split, until = np.meshgrid(*[np.arange(len(distances) + 1)] * 2, indexing="ij")
    sums = np.zeros((len(distances) + 1,) * 2)
    sums[1:, 1:] = distances.cumsum(axis=0).cumsum(axis=1)
    left, right = split, until - split
    within_left = sums[split, split]
    across = sums[split, until] - within_left
    within_right = sums[until, until] - within_left - 2 * across
    with np.errstate(divide="ignore", invalid="ignore"):
        energy = 2 * across / (left * right) - within_left / (left * (left - 1)) - within_right / (right * (right - 1))
        weighed = np.where((left >= SIDE_MIN) & (right >= SIDE_MIN), energy * left * right / until, -np.inf)
    best = np.unravel_index(np.argmax(weighed), weighed.shape)
    return int(best[0]), int(best[1])


def _weakest(series: Values, splits: list[int]) -> int | None:
    """Of the change points that do not hold, and those beside them, the one that explains least; None when all hold.

    One does not hold beside a side that is too short, or where the t-test says that chance may have made it: perhaps
    only because one beside it leaves it few values.
    """
    ranked, suspect = [], set[int]()
    for at, ((start, split), (_, end)) in enumerate(pairwise(pairwise([0, *splits, len(series)]))):
        before, after = series[start:split], series[split:end]
        long = min(len(before), len(after)) >= SIDE_MIN
        ranked.append((long, float(_explained(series[start:end], np.array([split - start]))[0]), split))
        tries = TRIES_NEWEST if end == len(series) else TRIES
        if not long or not _begins(before, after) or _p(before, after) * tries >= ALPHA:
            suspect |= {at - 1, at, at + 1}
    found = [one for at, one in enumerate(ranked) if at in suspect]
    return min(found)[2] if found else None


def _begins(before: Values, after: Values) -> bool:
    """Whether the first value has done a quarter of the step; else two odd nights and a good one would be three."""
    step = float(after.mean() - before.mean())
    return float(after[0] - before.mean()) * math.copysign(1.0, step) > abs(step) / 4


def _dated(series: Values, splits: list[int]) -> list[int]:
    """Each at the place between its neighbours that is most probable in normal noise.

    Least squares, with a preference for the shorter of two sides, whose mean is the less certain one.
    """
    bounds = [0, *splits, len(series)]
    for at in range(1, len(bounds) - 1):
        start, end = bounds[at - 1], bounds[at + 1]
        left = np.arange(SIDE_MIN, end - start - SIDE_MIN + 1)
        if len(left):
            values, right = series[start:end], end - start - left
            squares = float(((values - values.mean()) ** 2).sum())
            rest = np.maximum(squares - _explained(values, left), squares * _NOTHING + _TINY)
            doubt = len(values) * np.log(rest) + _SHORTER * np.log(left * right)
            bounds[at] = start + int(left[np.argmin(doubt)])
    return bounds[1:-1]


def _explained(values: Values, lengths: NDArray[np.int_]) -> Values:
    """How much less the squares of all deviations sum up to when the first so many values have a mean of their own."""
    sums, count = np.cumsum(values - values.mean()), len(values)
    return np.asarray(sums[lengths - 1] ** 2 * count / (lengths * (count - lengths)))


def _p(before: Values, after: Values) -> float:
    """Student's t-test with pooled variance: how probable a difference of both means this large is by chance."""
    freedom = len(before) + len(after) - 2
    difference = float(after.mean() - before.mean())
    squares = float(((before - before.mean()) ** 2).sum() + ((after - after.mean()) ** 2).sum())
    error = math.sqrt(squares / freedom * (1 / len(before) + 1 / len(after))) if freedom else 0.0
    if not difference or not freedom:
        return 1.0
    return chance.t_beyond(difference / error, freedom) if error else 0.0
