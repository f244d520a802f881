"""The small charts: every value is a point, every night without one a gap, and no line crosses a gap."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from reports.nights import spark
from reports.nights.spark import HEIGHT, WIDTH, Spark

_STEP = re.compile(r"([Mlh])(-?\d+) ?(-?\d+)?")
VALUES = st.lists(st.none() | st.floats(-1e12, 1e12), max_size=60)


def paths(drawn: str) -> dict[str, str]:
    """Class → shape of each path of the picture."""
    return {str(one.get("class")): str(one.get("d")) for one in ElementTree.fromstring(drawn)}


def points(curve: str) -> list[tuple[str, int, int]]:
    """How each point of the curve was reached (M: begun anew), and where it stands."""
    found: list[tuple[str, int, int]] = []
    for how, x, y in _STEP.findall(curve):
        if how == "h":
            continue
        at = (found[-1][1], found[-1][2]) if how == "l" else (0, 0)
        found.append((how, at[0] + int(x), at[1] + int(y)))
    return found


def night_of(x: int, count: int) -> int:
    """In which night's place a point stands."""
    return int(x / (WIDTH / count))


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_values_are_points_and_nothing_else_is(values: list[float | None]) -> None:
    """Exactly the nights with a value have a point, in the picture; exactly the others are shaded."""
    found = paths(spark.draw(Spark(values), "x"))
    measured = [i for i, value in enumerate(values) if value is not None]
    drawn = points(found.get("curve", ""))
    assert [night_of(x, len(values)) for _, x, _ in drawn] == measured
    assert all(0 <= y <= HEIGHT for _, _, y in drawn)
    gaps = re.findall(r"M(\d+) 0h", found.get("gap", ""))
    assert [round(float(x) / (WIDTH / len(values))) for x in gaps] == [i for i, v in enumerate(values) if v is None]


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_no_line_crosses_a_gap(values: list[float | None]) -> None:
    """The curve is drawn on only from the night before; after a gap it begins again."""
    drawn = points(paths(spark.draw(Spark(values), "x")).get("curve", ""))
    nights = [night_of(x, len(values)) for _, x, _ in drawn]
    for (how, _, _), night, before in zip(drawn, nights, [None, *nights], strict=False):
        assert (how == "l") == (before == night - 1)


def test_levels_are_those_between_the_change_points() -> None:
    """Mean and spread on both sides; one value alone has no spread, and no value no level."""
    first, second = Spark([1.0, None, 3.0, 10.0], changes=[3]).stretches()
    assert (first.begin, first.end, first.mean, first.spread) == (0, 3, 2.0, 2**0.5)
    assert (second.begin, second.end, second.mean, second.spread) == (3, 4, 10.0, None)
    assert Spark([None, None]).stretches() == []


def test_marks_and_changes_stand_before_their_night() -> None:
    """At the left edge of their place; without any there is no such line."""
    found = paths(spark.draw(Spark([1.0, 2.0, 3.0, 4.0], changes=[2], marks=[1, 3]), "x"))
    assert found["change"] == f"M300 0v{HEIGHT}"
    assert found["mark"] == f"M150 0v{HEIGHT}M450 0v{HEIGHT}"
    assert not {"change", "mark"} & paths(spark.draw(Spark([1.0, 2.0]), "x")).keys()


def test_a_flat_series_is_a_line_in_the_middle() -> None:
    """Also one of zeros, and one that was never measured is an empty picture."""
    for value in (0.0, 5.0, -3.0):
        assert {y for _, _, y in points(paths(spark.draw(Spark([value] * 3), "x"))["curve"])} == {HEIGHT // 2}
    assert paths(spark.draw(Spark([None]), "x")).keys() == {"gap"}


def test_its_label_is_text() -> None:
    """Whatever a series is called."""
    drawn = spark.draw(Spark([1.0]), '"><script>alert(1)</script>')
    assert "<script" not in drawn
    assert ElementTree.fromstring(drawn).get("aria-label") == '"><script>alert(1)</script>'
