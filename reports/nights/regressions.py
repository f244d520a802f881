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
    """An entry without PASS or FAIL in the last ``nights`` nights in which the suite had it, since that night."""

    entry: str
    since: Night
    nights: int
    why: str


def steps(trends: Sequence[Trend]) -> list[Step]:
    """Of every series with a regression, the newest first."""
    found = [_step(trend, trend.regression.since) for trend in trends if trend.regression is not None]
    return sorted(found, key=lambda step: (step.since.started, step.trend.key.id), reverse=True)


def _step(trend: Trend, since: int) -> Step:
    measured = [run for run, value in zip(trend.runs[:since], trend.values[:since], strict=True) if value is not None]
    before = measured[-1] if measured else None  # one that was not judged may already have been of the new level
    return Step(trend, trend.nights[since], before, trend.runs[since])


def unjudged(matrix: Matrix) -> list[Unjudged]:
    """Entries of the newest night that were not judged for three nights running."""
    return [_unjudged(name, since) for name, since in sorted(night.unjudged(matrix.nights).items())]


def _unjudged(name: str, since: Sequence[Night]) -> Unjudged:
    newest = [entry for entry in since[0].entries if entry.id == name][-1]
    why = newest.not_run if newest.status is None else newest.attempts[-1].reason
    return Unjudged(name, since[-1], len(since), why)
