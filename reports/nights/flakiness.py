"""How far the result of an entry can be trusted: nights that needed a retry, and results that flipped by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.model.night import Entry, Night
from harness.model.verdict import JUDGED, Status
from reports.nights.matrix import Matrix, Row


@dataclass(frozen=True)
class Flakiness:
    """Of one entry: nights in which it ran, was retried, and flipped.

    A flip is a PASS after a FAIL, or the reverse, of the same known commit, since its last judged night. ``flaky``
    counts the nights in which either happened, once each.
    """

    id: str
    ran: int
    retried: int
    flipped: int
    flaky: int

    @property
    def share(self) -> float | None:
        """Flaky nights / nights in which it ran, 0 to 1; None where it never ran."""
        return self.flaky / self.ran if self.ran else None


def of(matrix: Matrix) -> list[Flakiness]:
    """Of every entry of the matrix, the flakiest first."""
    found = [_of_row(row, matrix) for row in matrix.rows]
    return sorted(found, key=lambda one: (-(one.share or 0.0), one.id))


def _of_row(row: Row, matrix: Matrix) -> Flakiness:
    retried, flipped, ran = set(), set(), set()
    before: tuple[Status, str] | None = None  # the last judged result, and its commit
    for night, entry in _entries(row, matrix):
        if not entry.attempts:
            continue
        ran.add(night.run_id)
        if len(entry.attempts) > 1:
            retried.add(night.run_id)
        if entry.status in JUDGED:
            if before and night.commit and before[1] == night.commit and before[0] is not entry.status:
                flipped.add(night.run_id)
            before = entry.status, night.commit
    return Flakiness(row.id, len(ran), len(retried), len(flipped), len(retried | flipped))


def _entries(row: Row, matrix: Matrix) -> Iterator[tuple[Night, Entry]]:
    for night, cell in zip(matrix.nights, row.cells, strict=True):
        yield from ((night, entry) for entry in cell)
