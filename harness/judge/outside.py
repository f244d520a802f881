"""When a service was outside its objective: the stretches in which too many requests were bad, by a sliding window.

Requests come one by one (a run's records), or as so many between two scrapes (a server's counters): then it is known
only between which two scrapes a bad one was, and every time here is as uncertain as that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.model.alert_rules import FAILURES_MIN

Floats = npt.NDArray[np.float64]
#: A window must be wide enough for a share, and no wider than what people call a moment; longer where scrapes are rare.
WINDOW_S, SCRAPES = 60.0, 4


@dataclass(frozen=True)
class Counted:
    """Requests by the time at which they ended, rising: ``total`` and ``bad`` ended in (``since_s``, ``at_s``].

    Single requests have ``since_s`` equal to ``at_s``. All of shape (n,), seconds.
    """

    since_s: Floats
    at_s: Floats
    total: Floats
    bad: Floats

    @property
    def step_s(self) -> float:
        """The usual time between two looks; 0 of single requests."""
        apart = self.at_s - self.since_s
        return float(np.median(apart)) if len(apart) else 0.0


@dataclass(frozen=True)
class Stretch:
    """From the first bad request of a stretch outside the objective to its last; each was at the time given, or up to
    ``within_s`` before it. ``bad`` of ``total`` requests that ended in it.
    """

    from_s: float
    until_s: float
    within_s: float
    total: float
    bad: float


def stretches(counted: Counted, target_percent: float) -> tuple[Stretch, ...]:
    """Where more than 100 − ``target_percent`` % of a window's requests were bad, and ``FAILURES_MIN`` at least.

    Two that lie less than a window apart are one.
    """
    if len(counted.at_s) == 0:
        return ()
    window_s = max(WINDOW_S, SCRAPES * counted.step_s)
    until = np.arange(1, len(counted.at_s) + 1)
    since = np.searchsorted(counted.at_s, counted.at_s - window_s, side="right")
    totals, bads = (np.concatenate(([0.0], np.cumsum(of))) for of in (counted.total, counted.bad))
    of_window, bad = totals[until] - totals[since], bads[until] - bads[since]
    allowed = 1 - target_percent / 100
    outside = (bad >= FAILURES_MIN) & (bad > allowed * of_window)
    found: list[tuple[int, int]] = []
    for place in np.flatnonzero(outside):
        first = int(since[place])
        if found and (first <= found[-1][1] or counted.at_s[first] - counted.at_s[found[-1][1]] < window_s):
            found[-1] = found[-1][0], int(place)
        else:
            found.append((first, int(place)))
    return tuple(_stretch(counted, first, last) for first, last in found)


def _stretch(counted: Counted, first: int, last: int) -> Stretch:
    bad = first + np.flatnonzero(counted.bad[first : last + 1] > 0)
    begin, end = int(bad[0]), int(bad[-1])
    apart = max(counted.at_s[place] - counted.since_s[place] for place in (begin, end))
    part = slice(begin, end + 1)
    return Stretch(
        float(counted.at_s[begin]), float(counted.at_s[end]), float(apart),
        float(counted.total[part].sum()), float(counted.bad[part].sum()),
    )  # fmt: skip
