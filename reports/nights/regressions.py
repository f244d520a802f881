"""What got worse on a machine, since which night, and what changed between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.evidence.index import IndexedRun
from harness.model.night import Night
from harness.model.verdict import JUDGED
from reports.nights.matrix import Matrix, Row
from reports.nights.trend import Trend

#: A drill that was not judged in so many nights running counts as a regression.
UNJUDGED_NIGHTS = 3


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
    before = next((run for run in trend.runs[:since][::-1] if run is not None), None)
    return Step(trend, trend.nights[since], before, trend.runs[since])


def unjudged(matrix: Matrix) -> list[Unjudged]:
    """Entries of the newest night that were not judged for ``UNJUDGED_NIGHTS`` nights running."""
    found = [_unjudged(row, matrix) for row in matrix.rows if row.cells and row.cells[-1]]
    return [one for one in found if one is not None and one.nights >= UNJUDGED_NIGHTS]


def _unjudged(row: Row, matrix: Matrix) -> Unjudged | None:
    nights = list(_nights_unjudged(row, matrix))
    if not nights:
        return None
    newest = row.cells[-1][-1]
    why = newest.not_run if newest.status is None else newest.attempts[-1].reason
    return Unjudged(row.id, nights[-1], len(nights), why)


def _nights_unjudged(row: Row, matrix: Matrix) -> Iterator[Night]:
    """The newest nights, newest first, up to the first one in which it was judged. Nights without it do not count."""
    for night, cell in zip(matrix.nights[::-1], row.cells[::-1], strict=True):
        if any(entry.status in JUDGED for entry in cell):
            return
        if cell:
            yield night
