"""One series over many nights as a small inline SVG: hand-made, since a page has many hundreds of them within 2 MB.

Nights stand side by side at equal distances, oldest on the left. A night without a value is a shaded gap: no line
crosses it and no point stands in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import numpy as np
from markupsafe import Markup

from harness.judge.trends import spread_of

#: In the picture's own units, half a pixel each: whole numbers are short.
WIDTH, HEIGHT = 600, 96
#: Room above and below the curve.
_MARGIN = 12
#: What the curve has at each of its points (nightly.css); once on the page that has such pictures.
MARKER = Markup(
    '<svg width="0" height="0" aria-hidden="true"><marker id="dot" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="8" '
    'markerHeight="8" markerUnits="userSpaceOnUse"><circle cx="4" cy="4" r="4"/></marker></svg>'
)


@dataclass(frozen=True)
class Stretch:
    """Nights ``begin`` to ``end`` (exclusive) between two change points.

    ``spread`` is that of docs/trends.md, the mean absolute deviation; None with fewer than two values.
    """

    begin: int
    end: int
    mean: float
    spread: float | None


@dataclass(frozen=True)
class Spark:
    """``values`` are oldest first, None where the night gave none.

    ``changes`` are the nights since which another level holds; ``marks`` those before which versions, model or policy
    changed.
    """

    values: Sequence[float | None]
    changes: Sequence[int] = ()
    marks: Sequence[int] = ()

    def stretches(self) -> list[Stretch]:
        """What the series was like between its change points; a stretch without a value is left out."""
        found = []
        for begin, end in pairwise([0, *sorted(self.changes), len(self.values)]):
            values = [value for value in self.values[begin:end] if value is not None]
            if values:
                found.append(
                    Stretch(begin, end, fmean(values), spread_of(np.array(values)) if len(values) > 1 else None)
                )
        return found


def draw(spark: Spark, label: str) -> Markup:
    """The picture; ``label`` is what it shows, in words, for who cannot see it."""
    return Markup('<svg class="spark" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, label, Markup("").join(_parts(spark))
    )


def _parts(spark: Spark) -> Iterator[Markup]:
    """From back to front: gaps, bands, marks, change points, the curve."""
    slot = WIDTH / max(1, len(spark.values))
    gaps = [i for i, value in enumerate(spark.values) if value is None]
    if gaps:
        edges = [(round(slot * i), round(slot * (i + 1))) for i in gaps]
        yield _path("gap", "".join(f"M{left} 0h{right - left}v{HEIGHT}H{left}z" for left, right in edges))
    if len(gaps) == len(spark.values):
        return
    stretches = spark.stretches()
    low, high = _scale(spark.values, stretches)

    def y(value: float) -> int:
        return round(HEIGHT - _MARGIN - (value - low) / (high - low) * (HEIGHT - 2 * _MARGIN))

    for one in stretches:
        top, bottom = (y(one.mean + sign * (one.spread or 0.0)) for sign in (1, -1))
        left, right = round(slot * one.begin), round(slot * one.end)
        yield _path("band", f"M{left} {top}H{right}V{bottom}H{left}z")
    for css, nights in (("mark", spark.marks), ("change", spark.changes)):
        if nights:
            yield _path(css, "".join(f"M{round(slot * night)} 0v{HEIGHT}" for night in sorted(nights)))
    points = [None if v is None else (round(slot * (i + 0.5)), y(v)) for i, v in enumerate(spark.values)]
    yield _path("curve", "".join(_curve(points)))


def _curve(points: Sequence[tuple[int, int] | None]) -> Iterator[str]:
    """From each point to that of the next night, if that has one; a point alone is a line of no length."""
    for before, point, after in zip([None, *points], points, [*points[1:], None], strict=False):
        if point is None:
            continue
        if before is not None:
            yield f"l{point[0] - before[0]} {point[1] - before[1]}".replace(" -", "-")
        else:
            yield f"M{point[0]} {point[1]}" + ("h0" if after is None else "")


def _scale(values: Sequence[float | None], stretches: Sequence[Stretch]) -> tuple[float, float]:
    """The lowest and the highest number that the picture has to hold, never the same."""
    ends = [one.mean + sign * (one.spread or 0.0) for one in stretches for sign in (-1, 1)]
    measured = [value for value in values if value is not None]
    low, high = min([*measured, *ends]), max([*measured, *ends])
    if low == high:
        room = abs(low) / 10 or 1.0
        return low - room, high + room
    return low, high


def _path(css: str, shape: str) -> Markup:
    return Markup('<path class="{}" d="{}"/>').format(css, shape)
