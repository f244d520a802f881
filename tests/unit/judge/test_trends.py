"""Change points and regressions of figures over the nights, on generated series and on those of Otava's test data."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import otava_test_data
import pytest

from benchmarks import trends as generated
from benchmarks.rows import trends as row
from harness.judge import trends
from harness.judge.drill import ROOT


def levels(*parts: tuple[float, int], spread: float = 2.0) -> list[float | None]:
    """Levels, each for so many nights, with normal noise."""
    noise = np.random.default_rng(11).normal(0.0, spread, sum(count for _, count in parts))
    return [float(value) for value in np.repeat(*zip(*parts, strict=True)) + noise]


STEPPED = levels((100, 30), (130, 10))


def test_a_step_is_found_and_dated() -> None:
    """With both levels, its size, the spread before it and p."""
    found = trends.regression(STEPPED, "higher")
    assert trends.change_points(STEPPED) == [30]
    assert found is not None
    assert (found.since, found.until) == (30, None)
    assert found.before == pytest.approx(np.mean(STEPPED[:30]))
    assert found.after == pytest.approx(np.mean(STEPPED[30:]))
    assert found.size_ratio == pytest.approx(found.after / found.before - 1)
    assert found.spread == pytest.approx(0.8 * 0.02, rel=0.3)
    assert 0 < found.p < trends.ALPHA / trends.TRIES


@pytest.mark.parametrize("seed", [9, 82])
def test_odd_nights_beside_a_step_neither_hide_nor_move_it(seed: int) -> None:
    """A last good night of 109, or a first bad one of 102: the step from 100 to 120 is dated right."""
    values = generated.series(20, seed, generated.BEFORE + 3)
    found = trends.regression(values, "higher")
    assert found is not None
    assert found.since == generated.BEFORE


def test_a_level_begins_with_one_of_its_values() -> None:
    """Two odd nights are not three because a good one stands before them; a poor first night still is one."""
    for first, expected in ((101.0, []), (113.0, [30])):
        values = [*STEPPED[:30], first, 130.0, 131.0]
        assert trends.change_points(values) == expected


def test_only_the_worse_direction_is_a_regression() -> None:
    """A throughput that falls is one, a latency that falls is none."""
    fallen = [230 - value for value in STEPPED if value is not None]
    assert trends.change_points(fallen) == [30]
    assert trends.regressions(fallen, "higher") == []
    assert trends.regressions(STEPPED, "lower") == []
    found = trends.regression(fallen, "lower")
    assert found is not None
    assert (found.since, found.size_ratio) == (30, pytest.approx(0.23, abs=0.01))


def test_a_gap_is_no_value() -> None:
    """Nights without one change neither levels nor p, and the date is that of the first value that was worse."""
    whole = trends.regression(STEPPED, "higher")
    gaps = list(STEPPED)
    for at in (0, 7, 7, 30, 30, 30):
        gaps.insert(at, None)
    gaps.append(math.nan)
    found = trends.regression(gaps, "higher")
    assert whole is not None
    assert found is not None
    assert gaps[found.since] == STEPPED[30]
    assert (found.before, found.after, found.p) == (whole.before, whole.after, whole.p)


def test_three_nights_are_needed() -> None:
    """One or two odd nights are no change, wherever they are; with gaps between them they do not become more."""
    assert trends.regression(STEPPED[:32], "higher") is None
    assert trends.regression([*STEPPED[:32], None, None], "higher") is None
    assert trends.regression(STEPPED[:33], "higher") is not None
    for count in (1, 2):
        assert trends.change_points(levels((100, 20), (150, count), (100, 20))) == []


def test_a_change_has_to_be_large() -> None:
    """Above 10 % of the level before, and above three times its spread: else it is a change point alone."""
    small = levels((100, 30), (108, 30))
    wide = levels((100, 60), (125, 60), spread=12.0)
    for values, split in ((small, 30), (wide, 60)):
        assert trends.change_points(values) == [pytest.approx(split, abs=2)]
        assert trends.regressions(values, "higher") == []


def test_few_nights_before_tell_no_level() -> None:
    """A level is one from five nights on: else the end of a few good nights would be a regression."""
    short = levels((100, 4), (200, 30), spread=0.5)
    assert trends.change_points(short) == [4]
    assert trends.regressions(short, "higher") == []
    assert trends.regressions(levels((100, 5), (200, 30), spread=0.5), "higher") != []
    dip = levels((100, 30), (80, 4), (100, 10), spread=0.3)
    assert trends.change_points(dip) == [30, 34]
    assert trends.regressions(dip, "higher") == []
    assert [one.since for one in trends.regressions(levels((100, 30), (80, 5), (100, 10)), "higher")] == [35]
    assert [one.since for one in trends.regressions(levels((100, 30), (80, 4), (130, 10)), "higher")] == [34]


def test_what_went_back_is_past() -> None:
    """It is still listed, with the night on which it had gone; until three good nights it lasts."""
    values = levels((100, 30), (130, 12), (101, 10))
    assert trends.regression(values, "higher") is None
    assert [(one.since, one.until) for one in trends.regressions(values, "higher")] == [(30, 42)]
    for nights in (1, 2):
        assert trends.regression(values[: 42 + nights], "higher") is not None
    assert trends.regression(values[:45], "higher") is None


def test_half_way_back_is_not_back() -> None:
    """The level has to be within the limit again; a second regression on the first one is another."""
    values = levels((100, 30), (160, 12), (125, 12))
    assert [(one.since, one.until) for one in trends.regressions(values, "higher")] == [(30, None)]
    again = levels((100, 30), (130, 12), (170, 12))
    assert [(one.since, one.until) for one in trends.regressions(again, "higher")] == [(30, None), (42, None)]
    newest = trends.regression(again, "higher")
    assert newest is not None
    assert newest.since == 42


def test_from_nothing_to_something() -> None:
    """A figure that always was 0 has no part that one could name; constant ones never change."""
    found = trends.regression([0.0] * 10 + [1.0] * 3, "higher")
    assert found is not None
    assert (found.since, found.size_ratio, found.spread, found.p) == (10, math.inf, 0.0, 0.0)
    assert trends.change_points([5.0] * 60) == []


@pytest.mark.parametrize("values", [[], [None], [None] * 40, [1.0], [1.0, 2.0], [1.0, None, 9.0, 9.0, 9.0]])
def test_of_few_values_nothing_is_said(values: list[float | None]) -> None:
    """No error either."""
    assert trends.change_points(values) == []
    assert trends.regression(values, "higher") is None


def test_a_long_history_hides_no_step() -> None:
    """Windows: three steps over a year are all found, and the newest after three nights."""
    values = levels((100, 150), (140, 120), (100, 90), (140, 3))
    assert trends.change_points(values) == [150, 270, 360]
    assert [(one.since, one.until) for one in trends.regressions(values, "higher")] == [(150, 270), (360, None)]


def test_steps_are_found_soon_and_nothing_else_is() -> None:
    """100 series with a step of 20 % and 100 unchanged ones, each judged every night."""
    figures = row.measure(0)
    assert row.broken(figures) == []
    assert figures["right"] <= figures["found"], "of all series, not of those that were found"
    worst = figures | {"found": 94.0, "right": 94.9, "false_alarms": 2}
    assert len(row.broken(worst)) == 3


def documented() -> dict[int, list[float]]:
    """The rows of the table of docs/trends.md: by step, its shares in %."""
    rows = re.findall(r"^\| (\d+) % \|(.+)\|$", (ROOT / "docs" / "trends.md").read_text(), re.MULTILINE)
    return {int(step): [float(share) for share in re.findall(r"([\d.]+) %", shares)] for step, shares in rows}


@pytest.mark.parametrize("step", generated.STEPS)
def test_the_documented_curve_is_that_of_the_code(step: int) -> None:
    """Of the first 30 of its series, as near as so few can be; larger steps and later nights are found more often."""
    shares = documented()[step]
    few = generated.curve(step, 30)
    within = len(generated.WITHIN)
    assert [*few.found.values()] == pytest.approx(shares[:within], abs=25)
    if step > 10:  # of a step of 10 %, there are too few alarms on the third night
        assert [few.right[3], few.right[10]] == pytest.approx(shares[within:], abs=15)
    assert shares[:within] == sorted(shares[:within])
    by_third = [documented()[one][2] for one in generated.STEPS]
    assert by_third == sorted(by_third)


def test_the_table_is_that_of_the_docs() -> None:
    """The same columns, and the sentence on false alarms."""
    page = (ROOT / "docs" / "trends.md").read_text()
    title, *_, alarms = generated.table(2).strip().splitlines()
    assert title in page
    assert alarms.replace("0 in 2 ", "", 1).partition("unchanged")[2] in page


#: Series of Otava's test data, by the name of their generator, and how many changes of level each declares.
ORACLE = [
    ("constant", {}, 0),
    ("noise_uniform", {}, 0),
    ("step_function", {"sigma": 5.0}, 1),
    ("step_function", {"sigma": 5.0, "value_before": 120.0, "value_after": 100.0}, 1),
    ("regression_fix", {"sigma": 5.0}, 2),
    ("regression_fix", {"sigma": 5.0, "regression_duration": 4}, 2),
    ("multiple_changes", {"sigma": 5.0, "values": [100.0, 130.0, 100.0, 130.0]}, 3),
]
#: Places beside a declared one that still are it: noise of a quarter of the step moves some by one.
TOLERANCE = 2


@pytest.mark.parametrize("length", [50, pytest.param(500, marks=pytest.mark.night)])
@pytest.mark.parametrize(("name", "options", "declared"), ORACLE)
def test_what_otavas_test_data_declares_is_found(
    name: str, options: dict[str, Any], declared: int, length: int
) -> None:
    """Each declared change within two places, nine of ten exactly; in 20 series of 500, five others at most."""
    make: Callable[..., Any] = getattr(otava_test_data, name)
    exact = others = 0
    for seed in range(20):
        one = make(length, seed=seed, **options)
        found, wanted = trends.change_points(list(one.data)), one.get_change_point_indices()
        assert len(wanted) == declared
        assert [at for at in wanted if not any(abs(at - here) <= TOLERANCE for here in found)] == []
        exact += len({*wanted} & {*found})
        others += sum(all(abs(at - here) > TOLERANCE for at in wanted) for here in found)
    assert exact >= 0.9 * 20 * declared
    assert others <= 5 * length / 500


@pytest.mark.parametrize(("name", "options", "most"), [("outlier", {"sigma": 5.0}, 0), ("variance_change", {}, 1)])
def test_other_changes_of_otavas_test_data_are_no_levels(name: str, options: dict[str, Any], most: int) -> None:
    """It also declares an odd value and a five times larger spread as changes: of these, one in 20 looks like one."""
    series = [getattr(otava_test_data, name)(50, seed=seed, **options) for seed in range(20)]
    assert all(one.get_change_point_indices() for one in series)
    assert sum(bool(trends.regressions(list(one.data), "higher")) for one in series) <= most
