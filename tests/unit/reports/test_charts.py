"""Charts: what is drawn is what was measured, a hole stays a hole, and nothing in them is more than text."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from harness.evidence.phases import PhaseSpan
from reports import charts
from reports.charts import Chart, Gap, Moment, Series

HOSTILE = "<script>alert('x')</script><img src=http://evil.test/x.png>\"'&"


def one(y: Any, name: str = "replica-1", x: Any = None, **more: Any) -> Chart:
    """A chart of one curve at seconds 0, 1, …, or at those of ``x``."""
    values = np.asarray(y, dtype=float)
    return Chart("c", "Title", "ms", [Series(name, np.arange(len(values)) if x is None else x, values, **more)])


def drawn(chart: Chart, end_s: float = 10.0, phases: tuple[PhaseSpan, ...] = (), **more: Any) -> str:
    """Its figure."""
    return str(charts.draw(chart, phases, end_s, **more))


def numbers(figure: str) -> dict[str, Any]:
    """What travels beside the picture."""
    found = re.search(r'<script type="application/json">(.*?)</script>', figure, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def points(figure: str, n: int = 0) -> list[tuple[float, float | None]]:
    """(seconds, value) of one of its series."""
    data = numbers(figure)
    series = data["series"][n]
    times = np.cumsum(data["grids"][series["grid"]]) / 100
    return list(zip(times.tolist(), series["y"], strict=True))


def path(figure: str, n: int = 0) -> str:
    """The drawing commands of one of its curves."""
    found = re.search(rf'<path id="series-c-{n}"[^>]* d="([^"]*)"', figure)
    assert found
    return found[1]


def bands(figure: str, kind: str) -> list[tuple[int, int]]:
    """Where bands of that kind begin and end, in parts of ten thousand of the width."""
    found = re.findall(rf'<rect class="{kind}" x="(\d+)" width="(\d+)"', figure)
    return [(int(x), int(x) + int(width)) for x, width in found]


def test_a_curve_stands_where_its_values_are() -> None:
    """From the lower left corner to the top, and the numbers are those that were measured."""
    figure = drawn(one([0, 5, 10], x=np.array([0.0, 5.0, 10.0])))
    assert path(figure) == "M0 1000h0l5000-500l5000-500"
    assert points(figure) == [(0, 0), (5, 5), (10, 10)]
    assert 'style="bottom:100%">10</i>' in figure
    assert 'style="left:40%">4</i>' in figure
    assert "replica-1 <span>0–10</span>" in figure
    assert 'aria-label="Title, ms: replica-1 0–10"' in figure


def test_chart_without_values_draws_nothing() -> None:
    """All NaN is not a flat line."""
    figure = drawn(one([np.nan, np.nan]))
    assert "not measured" in figure
    assert "<svg" not in figure


def test_all_zeros_are_a_flat_line_on_a_scale_of_one() -> None:
    """Not a scale of 0.05 that makes noise of nothing."""
    figure = drawn(one([0, 0, 0, 0]))
    assert path(figure) == "M0 1000h0l3000 0"
    assert 'style="bottom:100%">1</i>' in figure


def test_no_line_over_a_hole() -> None:
    """Samples further apart than five of their own intervals are not joined, whatever the interval is; others are."""
    for interval in (0.2, 1.0, 15.0):
        times = interval * np.array([0, 1, 2, 3, 9, 10, 14])
        figure = drawn(one([1, 2, 3, 4, 5, 6, 7], x=times), 14 * interval)
        assert path(figure).count("M") == 2
        assert [value for _, value in points(figure)] == [1, 2, 3, 4, None, 5, 6, 7]
        assert numbers(figure)["gaps"] == [[round(3 * interval, 2), round(9 * interval, 2)]]
        assert figure.count('class="hole"') == 1
        assert f"<b>data incomplete:</b> replica-1 {3 * interval:.1f}–{9 * interval:.1f} s" in figure
    whole = drawn(one([1, 2, 3, 4], x=np.array([0.0, 1.0, 5.9, 7.0])), 7.0)
    assert path(whole).count("M") == 1
    assert "incomplete" not in whole


def test_what_begins_late_or_ends_early_has_a_hole_there() -> None:
    """A component that was never seen again has no line to the end, and the chart says so."""
    figure = drawn(one([1, 2, 3, 4, 5], x=np.arange(20.0, 25.0)), 60.0, (PhaseSpan("all", "baseline", 1.0, 60.0),))
    assert numbers(figure)["gaps"] == [[0.0, 20.0], [24.0, 60.0]]


def test_a_window_without_a_value_breaks_the_line_and_is_no_missing_data() -> None:
    """Nobody was answered: that is no hole in what was watched."""
    figure = drawn(one([1, 2, np.nan, 4, 5, np.nan, 7]))
    assert path(figure).count("M") == 3
    assert "incomplete" not in figure


def test_dots_have_no_holes() -> None:
    """Values that come one by one have no interval."""
    figure = drawn(one([1, 2, 3, 4], x=np.array([0.0, 0.1, 0.2, 9.0]), marks=True))
    assert path(figure).count("h0") == 4
    assert "incomplete" not in figure


def test_the_reason_of_a_hole_is_told_once_for_all_that_have_it() -> None:
    """Of many holes some are told and the others counted."""
    gaps = [Gap(n, n + 0.5, "replica-1 was down") for n in range(6)]
    x = np.arange(10.0)
    two = [Series(name, x, x, gaps=gaps) for name in ("a", "b")]
    figure = drawn(Chart("c", "Title", "ms", two))
    assert "a, b 0.0–0.5 s (replica-1 was down)" in figure
    assert figure.count('class="hole"') == 6
    assert "and 2 more" in figure


def test_thinning_keeps_spikes_dips_and_holes() -> None:
    """Of 100,000 points some hundred are drawn, and the one spike, the one dip and the one hole among them are."""
    y = np.ones(100_000)
    y[54_321], y[77_777], y[12_345] = 99.0, 0.25, np.nan
    figure = drawn(one(y, x=np.arange(100_000) / 10), 10_000.0)
    values = [value for _, value in points(figure)]
    assert len(values) <= charts.POINTS_MAX
    assert {99, 0.25, None} <= set(values)
    x, kept = charts._thinned(np.arange(100_000) / 10, np.random.default_rng(1).random(100_000))
    assert len(kept) <= charts.POINTS_MAX
    assert (np.diff(x) > 0).all()


def test_a_page_of_eighty_noisy_curves_is_small() -> None:
    """Of a run of any length: picture and numbers of one curve take 20 kB at most."""
    noise = np.random.default_rng(1).random(1_000_000) * 1234.5
    assert len(drawn(one(noise, x=np.arange(1_000_000) / 5), 200_000.0)) < 20_000


def test_a_level_stretch_keeps_both_of_its_ends() -> None:
    """Points in its middle are left out, and the fall at its end is as steep as it was."""
    y = np.r_[np.full(3000, 3.0), np.zeros(3000)]
    found = points(drawn(one(y, x=np.arange(6000) / 5), 1200.0))
    assert len(found) < 20
    last = max(t for t, value in found if value == 3)
    first = min(t for t, value in found if value == 0)
    assert first - last <= 5.1
    assert 595 <= last <= 600 <= first <= 605


def test_stacked_areas_add_up() -> None:
    """The upper one is drawn first and reaches the sum; its numbers are its own."""
    x = np.arange(0.5, 10)
    both = [Series("ok", x, np.full(10, 3.0)), Series("bad", x, np.full(10, 1.0))]
    figure = drawn(Chart("c", "Title", "n", both, stacked=True))
    assert figure.index('id="series-c-1"') < figure.index('id="series-c-0"')
    assert path(figure, 1).startswith("M0 1000V0H1000")
    assert path(figure, 0).startswith("M0 1000V250H1000")
    assert {value for _, value in points(figure, 1)} == {1}


def test_unhealed_fault_is_shaded_to_the_end() -> None:
    """A band without a heal goes on: the reader must see that the fault was never rolled back."""
    figure = drawn(one([1, 2]), 31.0, (PhaseSpan("bad", "fault", 2.0, None, 4.0, None),))
    assert bands(figure, "fault") == [(1000, 10_000)]
    assert numbers(figure)["faults"] == [[4.0, 31.0]]


def test_disturbed_times_and_moments_are_marked() -> None:
    """In the picture and in the numbers for uPlot; a moment outside of the axis is not at its edge."""
    moments = [Moment(5.0, "alert", "ReplicaDown"), Moment(99.0, "alert", "later")]
    figure = drawn(one([1, 2, 3]), marks=[(2.0, 4.0)], moments=moments)
    assert bands(figure, "disturbed") == [(2000, 4000)]
    assert '<path class="moment alert" d="M5000 0v1000"/>' in figure
    assert numbers(figure)["moments"] == [[5.0, "alert"], [99.0, "alert"]]


@pytest.mark.parametrize("name", ["</script><b>", "<!--<script>", "]]><![CDATA[", "$$", "a$b", '"><b>', "'", HOSTILE])
def test_hostile_series_name_is_text(name: str) -> None:
    """A replica's header names a series: it neither ends nor opens anything."""
    chart = one([1.0, 2.0], name=name)
    figure = drawn(Chart(chart.id, name, name, chart.series, note=name, limit=1.5))
    assert (figure.count("<script"), figure.count("</script>"), figure.count("<!--<script")) == (1, 1, 0)
    before, _, script = figure.partition('<script type="application/json">')
    assert "<" not in script.partition("</script>")[0]
    assert numbers(figure)["series"][0]["name"] == name
    plain = drawn(Chart(chart.id, "t", "t", one([1.0, 2.0]).series, note="t", limit=1.5)).partition("<script")[0]
    assert re.findall(r"<[a-z/]+", before) == re.findall(r"<[a-z/]+", plain)


@pytest.mark.parametrize(
    ("highest", "ticks"), [(0.3, [0, 0.25, 0.5, 0.75, 1]), (17, [0, 5, 10, 15, 20]), (4, [0, 1, 2, 3, 4])]
)
def test_axes_have_few_round_numbers(highest: float, ticks: list[float]) -> None:
    """Five at most, from 0 to above the largest value."""
    figure = drawn(one([0, highest]))
    assert [float(one) for one in re.findall(r'class="y"[^>]*>([^<]*)<', figure)] == ticks
