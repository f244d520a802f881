"""Charts as inline SVG, drawn by matplotlib when the page is written: they read in print and without JavaScript.

Each drawn series carries ``id="series-<chart>-<n>"``; the numbers behind the curves travel as JSON beside the picture,
for hover values, the shared cursor and zoom of ``report.js``.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.evidence.phases import PhaseSpan

#: Okabe–Ito: told apart with any kind of colour vision, and in grey by their lightness.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8A6D00", "#000000")
OUTCOME_COLOURS = {"ok": "#7FB8D8", "cancelled_intended": "#BBBBBB", "cancelled_drain": "#DDDDDD"}
POINTS_MAX = 600
SIZE_INCHES = (9.6, 2.3)
#: The same for every chart, so that a moment stands at the same place in all of them.
MARGINS = {"left": 0.05, "right": 0.87, "top": 0.93, "bottom": 0.1}
#: Shown before the first phase; what lies before that is the stack coming up.
LEAD_IN_S = 1.0
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "drillyard",
    "font.family": "sans-serif",
    "font.size": 8,
    "text.parse_math": False,  # names come from servers: `$` is no formula
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E3E6EA",
    "grid.linewidth": 0.6,
}


@dataclass(frozen=True)
class Series:
    """One curve: ``x`` in seconds since the run's zero, ``y`` in the chart's unit; NaN where nothing was measured."""

    name: str
    x: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]
    colour: str | None = None
    marks: bool = False  # points instead of a line: for series with holes


@dataclass(frozen=True)
class Chart:
    """One picture: curves (``stacked``: areas on top of each other) over the phases of the run."""

    id: str
    title: str
    unit: str
    series: Sequence[Series]
    stacked: bool = False
    limit: float | None = None  # an objective's limit, drawn as a line
    note: str = ""  # what the reader should know, below the title


def draw(chart: Chart, phases: Sequence[PhaseSpan], end_s: float, marks: Sequence[tuple[float, float]] = ()) -> Markup:
    """The chart as a ``<figure>``, the times in ``marks`` in grey.

    A chart without a single measured value says so instead of showing an empty box.
    """
    measured = [s for s in chart.series if len(s.y) and not np.all(np.isnan(s.y.astype(float)))]
    head = f"<figcaption><b>{_escape(chart.title)}</b> <span>{_escape(chart.unit)}</span>"
    head += f"<small>{_escape(chart.note)}</small></figcaption>" if chart.note else "</figcaption>"
    if not measured:
        return Markup(f'<figure class="chart" id="{chart.id}">{head}<p class="nodata">not measured</p></figure>')
    begin_s = max(0.0, min((phase.start_s for phase in phases), default=0.0) - LEAD_IN_S)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=SIZE_INCHES)
        figure.subplots_adjust(**MARGINS)
        axes = figure.add_subplot()
        _shade(axes, phases, end_s)
        for begin, end in marks:
            axes.axvspan(begin, end, color="#5A6472", alpha=0.22, linewidth=0)
        _plot(axes, chart, measured)
        axes.set_xlim(begin_s, end_s)
        axes.set_ylim(0, max(1.0, axes.get_ylim()[1]))  # all zeros are a flat line, not a scale of 0.05
        axes.annotate(" s", (1, 0), xycoords="axes fraction", color="#5A6472", va="center")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=7)
        svg = _svg(figure, chart.id)
        box = axes.get_position()
    data = {
        "x": [box.x0, box.x1],
        "y": [box.y0, box.y1],
        "span": [round(begin_s, 2), round(end_s, 2)],
        "unit": chart.unit,
        "series": [{"name": s.name, "points": _points(s)} for s in measured],
    }
    # `</script>` ends a script, and `<!--<script>` lets it swallow the rest of the page.
    script = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return Markup(
        f'<figure class="chart" id="{chart.id}" data-series="{len(measured)}">{head}'
        f'<div class="plot">{svg}</div><script type="application/json">{script}</script></figure>'
    )


def _plot(axes: Axes, chart: Chart, series: Sequence[Series]) -> None:
    colours = [s.colour or COLOURS[i % len(COLOURS)] for i, s in enumerate(series)]
    if chart.stacked:
        heights = [np.nan_to_num(s.y.astype(float)) for s in series]
        names = [s.name for s in series]
        areas = axes.stackplot(series[0].x, *heights, labels=names, colors=colours, step="mid", linewidth=0)
        for i, area in enumerate(areas):
            area.set_gid(f"series-{chart.id}-{i}")
    else:
        for i, (one, colour) in enumerate(zip(series, colours, strict=True)):
            style = {"linestyle": "none", "marker": ".", "markersize": 3} if one.marks else {"linewidth": 1.2}
            x, y = _thinned(one)
            (line,) = axes.plot(x, y, color=colour, label=one.name, **style)
            line.set_gid(f"series-{chart.id}-{i}")
    if chart.limit is not None:
        axes.axhline(chart.limit, color="#B3261E", linewidth=0.8, linestyle=(0, (4, 3)))
        text = f"limit {chart.limit:g}"
        axes.annotate(text, (1, chart.limit), xycoords=("axes fraction", "data"), color="#B3261E",
                      fontsize=7, ha="right", va="bottom")  # fmt: skip


def _shade(axes: Axes, phases: Sequence[PhaseSpan], end_s: float) -> None:
    for phase in phases:
        until = end_s if phase.end_s is None else phase.end_s
        if phase.fault_start_s is not None:
            healed = until if phase.fault_end_s is None else phase.fault_end_s
            axes.axvspan(phase.fault_start_s, healed, color="#D55E00", alpha=0.13, linewidth=0)
        axes.axvline(phase.start_s, color="#9AA3AD", linewidth=0.6)
        axes.annotate(f" {phase.name}", (phase.start_s, 1), xycoords=("data", "axes fraction"), fontsize=6.5,
                      color="#5A6472", va="bottom")  # fmt: skip


def _svg(figure: Figure, chart_id: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Several pictures share one page: without the prefix their ids would be the same.
    text = re.sub(r'(\sid="|url\(#|xlink:href="#)(?!series-)', rf"\1{chart_id}-", text)
    # Width and height in points would fix the size; the view box alone lets the page scale it.
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)


def _thinned(series: Series) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """At most ``POINTS_MAX`` points; of each bin the largest value is kept, so that no spike disappears."""
    if len(series.x) <= POINTS_MAX:
        return series.x, series.y
    chosen = []
    for part in np.array_split(np.arange(len(series.x)), POINTS_MAX):
        values = series.y[part].astype(float)
        chosen.append(part[0] if np.all(np.isnan(values)) else part[int(np.nanargmax(values))])
    return series.x[chosen], series.y[chosen]


def _points(series: Series) -> list[list[float | None]]:
    x, y = _thinned(series)
    return [[round(float(a), 2), None if np.isnan(b) else float(f"{float(b):.4g}")] for a, b in zip(x, y, strict=True)]


def _escape(text: str) -> Markup:
    return Markup.escape(text)
