"""What got worse on a machine, since which night, and what changed between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.evidence.index import IndexedRun
from harness.model import night
from harness.model.night import Night
from reports.nights.matrix import Matrix
from reports.nights.trend import Trend


@dataclass(frozen=True)
class Step:
    """A series that has become worse; ``before`` and ``after`` are the runs on both sides of the change point."""

    trend: Trend
    since: Night
    before: IndexedRun | None
    after: IndexedRun | None


@dataclass(frozen=True)
class Unjudged:
    """An entry without PASS or FAIL in the last ``nights`` nights in which the suite had it, since that night.

    ``undisturbed`` says in words what kept it from being judged in that first night, right after one in which it was,
    although nothing disturbed the machine; "" where something did, or it is not known.
    """

    entry: str
    since: Night
    nights: int
    why: str
    undisturbed: str = ""


def steps(trends: Sequence[Trend]) -> list[Step]:
    """Of every series with a regression, the newest first."""
    found = [_step(trend, trend.regression.since) for trend in trends if trend.regression is not None]
    return sorted(found, key=lambda step: (step.since.started, step.trend.key.id), reverse=True)


def _step(trend: Trend, since: int) -> Step:
    measured = [run for run, value in zip(trend.runs[:since], trend.values[:since], strict=True) if value is not None]
    before = measured[-1] if measured else None  # one that was not judged may already have been of the new level
    return Step(trend, trend.nights[since], before, trend.runs[since])


def unjudged(matrix: Matrix) -> list[Unjudged]:
    """Entries of the newest night that are no longer judged on an undisturbed machine, or not for three nights."""
    lost = night.no_longer_judged(matrix.nights)
    both = {**night.unjudged(matrix.nights), **lost}
    return [_unjudged(name, since, name in lost) for name, since in sorted(both.items())]


def _unjudged(name: str, since: Sequence[Night], lost: bool) -> Unjudged:
    newest, first = ([entry for entry in one.entries if entry.id == name][-1] for one in (since[0], since[-1]))
    why = newest.not_run if newest.status is None else newest.attempts[-1].reason
    return Unjudged(name, since[-1], len(since), why, night.UNDISTURBED[first.undisturbed] if lost else "")
