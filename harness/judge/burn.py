"""The error budget of a service level objective, and when its burn rate would have paged: a replay over a run.

A run lasts minutes, the windows of burn-rate alerts hours: what was before the run is not known. The replay takes the
service to have been well then, at the run's own rate of requests, so a page is one that this run alone would have
brought. No check depends on it: a run is judged by its own objectives, never by a window of 30 days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

#: The budget is what may fail of the requests of so many days.
PERIOD_S = 30 * 86_400.0


@dataclass(frozen=True)
class Rule:
    """Pages while the burn rate over both windows, in seconds, is above ``rate``: so many times the budget's pace."""

    rate: float
    long_s: float
    short_s: float

    def __str__(self) -> str:
        """As the docs name it."""
        return f"{self.rate:g}× over {_duration(self.long_s)} and {_duration(self.short_s)}"


RULES = (
    Rule(14.4, 3_600.0, 300.0),
    Rule(6.0, 21_600.0, 1_800.0),
    Rule(3.0, 86_400.0, 7_200.0),
    Rule(1.0, 259_200.0, 21_600.0),
)


@dataclass(frozen=True)
class Page:
    """When a rule would have paged, in seconds of the run: the end of the request that made it; None for never."""

    rule: Rule
    at_s: float | None


@dataclass(frozen=True)
class Burned:
    """What a run did to the budget of an objective of ``target`` percent.

    ``spent`` is bad requests over those that the objective allows of the same number: 1 is all of it. ``of_period`` is
    the share of a period's budget, at the run's own rate. Both are None without requests.
    """

    target: float
    requests: int
    bad: int
    spent: float | None
    of_period: float | None
    pages: tuple[Page, ...]


def replay(end_s: Floats, bad: Flags, began_s: float, until_s: float, target: float) -> Burned:
    """The budget that requests burned which ended at ``end_s``, shape (n,), in a run from ``began_s`` to ``until_s``.

    ValueError where ``target`` is no objective with a budget: 0 < target < 100.
    """
    if not 0 < target < 100:
        raise ValueError(f"an objective of {target:g} % leaves no error budget: expected more than 0 and less than 100")
    order = np.argsort(end_s, kind="stable")
    times, failed = end_s[order], bad[order]
    count, allowed, lasted = len(times), 1 - target / 100, until_s - began_s
    if count == 0 or lasted <= 0:
        return Burned(target, count, 0, None, None, tuple(Page(rule, None) for rule in RULES))
    rate = count / lasted
    pages = tuple(Page(rule, _pages_at(rule, times, failed, began_s, rate, allowed)) for rule in RULES)
    total = int(failed.sum())
    return Burned(target, count, total, *shares(count, total, lasted, target), pages)


def shares(requests: int, bad: int, lasted_s: float, target: float) -> tuple[float | None, float | None]:
    """``spent`` and ``of_period`` of ``Burned`` for so many requests, ``bad`` of them, in ``lasted_s`` seconds."""
    if requests == 0 or lasted_s <= 0:
        return None, None
    allowed = 1 - target / 100
    return bad / requests / allowed, bad / (requests / lasted_s * PERIOD_S) / allowed


def _pages_at(rule: Rule, times: Floats, failed: Flags, began_s: float, rate: float, allowed: float) -> float | None:
    """The first end of a request at which both windows burn faster than the rule's rate."""
    at_s = times[failed]  # a good one raises no rate
    both = np.ones(len(at_s), dtype=bool)
    for window_s in (rule.long_s, rule.short_s):
        both &= _ratio(at_s, times, failed, began_s, rate, window_s) / allowed > rule.rate
    return float(at_s[both.argmax()]) if both.any() else None


def _ratio(at_s: Floats, times: Floats, failed: Flags, began_s: float, rate: float, window_s: float) -> Floats:
    """Of each of these moments: the share of bad ones in the window up to it, with good ones before the run."""
    since = np.searchsorted(times, at_s - window_s, side="right")
    until = np.searchsorted(times, at_s, side="right")
    sums = np.concatenate(([0], np.cumsum(failed)))
    before = np.maximum(0.0, began_s - (at_s - window_s)) * rate
    ratio: Floats = (sums[until] - sums[since]) / np.maximum(until - since + before, 1.0)
    return ratio


def _duration(seconds: float) -> str:
    for unit, name in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= unit:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"


def first(pages: Sequence[Page]) -> Page | None:
    """The page that would have come first; None where none would."""
    came = [page for page in pages if page.at_s is not None]
    return min(came, key=lambda page: page.at_s or 0.0) if came else None
