"""Charts over the time of a run: inline SVG that reads in print and without JavaScript, and the numbers for uPlot.

Only the curves are SVG, in a box that takes any width; titles, legends and axes are HTML, so that their text keeps its
size on a phone. The numbers behind the curves travel as JSON beside them: ``report.js`` draws the same picture with
uPlot (``vendor/``), with zoom and a cursor that all charts share. Each curve has ``id="series-<chart>-<n>"``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from harness.evidence.phases import PhaseSpan
from reports.panel import number

Floats = npt.NDArray[np.float64]

#: How many colours there are: ``--c0`` and so on of ``timeline.css``, and ways to dash a line.
COLOURS, DASHES = 8, 4
#: Points of a curve that are drawn, at most: of more, each bin keeps its extremes and its holes.
POINTS_MAX = 720
#: Shown before the first phase; what lies before that is the stack coming up.
LEAD_IN_S = 1.0
#: Two samples further apart than so many of their own intervals have a hole between them.
GAP_INTERVALS = 5.0
#: Said in words below a chart, of holes; the others are only counted.
_GAPS_TOLD = 4
#: The box of the curves: whole numbers in it are fine enough for a page of paper.
_WIDTH, _HEIGHT = 10_000, 1_000
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Gap:
    """A stretch without samples, in seconds since the run's zero, and why there were none where that is known."""

    begin_s: float
    end_s: float
    why: str = ""


@dataclass(frozen=True)
class Series:
    """One curve: ``x`` in seconds since the run's zero, ``y`` in the chart's unit; NaN where nothing was measured.

    ``gaps`` are its stretches without data; None: wherever two of its times lie too far apart.
    """

    name: str
    x: npt.NDArray[Any]
    y: npt.NDArray[Any]
    colour: str | None = None  # a colour of CSS; None: the next one
    marks: bool = False  # points instead of a line: for series with holes
    gaps: Sequence[Gap] | None = None


@dataclass(frozen=True)
class Moment:
    """A moment of the run that is marked in a chart; ``kind`` is a class of ``timeline.css``."""

    t_s: float
    kind: str
    name: str


@dataclass(frozen=True)
class Chart:
    """One picture: curves (``stacked``: areas on top of each other, of the same times) over the phases of the run."""

    id: str
    title: str
    unit: str
    series: Sequence[Series]
    stacked: bool = False
    limit: float | None = None  # an objective's limit, drawn as a line
    note: str = ""  # what the reader should know, below the title


@dataclass(frozen=True)
class _Frame:
    """Which times and values the box shows: from 0 to ``top``."""

    begin_s: float
    end_s: float
    top: float

    def x(self, t_s: float) -> float:
        """Share of the width, 0 to 1."""
        return min(max((t_s - self.begin_s) / (self.end_s - self.begin_s), 0.0), 1.0)


def draw(
    chart: Chart,
    phases: Sequence[PhaseSpan],
    end_s: float,
    marks: Sequence[tuple[float, float]] = (),
    moments: Sequence[Moment] = (),
) -> Markup:
    """The chart as a ``<figure>``, the times in ``marks`` in grey, a line at each of ``moments``.

    A chart without a single measured value says so instead of showing an empty box.
    """
    measured = [one for one in chart.series if len(one.y) and not np.all(np.isnan(one.y.astype(float)))]
    note = Markup("<small>{}</small>").format(chart.note) if chart.note else Markup("")
    head = Markup("<figcaption><b>{}</b> <span>{}</span>{}</figcaption>").format(chart.title, chart.unit, note)
    if not measured:
        nothing = Markup('<figure class="chart" id="{}">{}<p class="nodata">not measured</p></figure>')
        return nothing.format(chart.id, head)
    begin_s = begin_of(phases)
    shown = [_shown(one, begin_s, end_s, chart.stacked) for one in measured]
    frame = _Frame(begin_s, max(end_s, begin_s + 1.0), _top(chart, shown))
    gaps = list(_together(shown))
    still = Markup('<div class="still">{}{}{}{}</div>').format(
        _holes(frame, gaps), _background(frame, phases, marks, moments), _curves(chart, shown, frame), _axes(frame)
    )
    said = _described(chart, shown, gaps)
    return Markup(
        '<figure class="chart" id="{}" data-series="{}">{}{}<div class="plot" role="img" aria-label="{}">{}</div>{}{}'
        "</figure>"
    ).format(
        chart.id, len(shown), head, _legend(chart, shown), said, still, _told(gaps),
        _numbers(chart, shown, frame, gaps, phases, marks, moments),
    )  # fmt: skip


def begin_of(phases: Sequence[PhaseSpan]) -> float:
    """Where the time axis of every chart begins, in seconds."""
    return max(0.0, min((phase.start_s for phase in phases), default=0.0) - LEAD_IN_S)


# ── holes ──


def gaps(times: npt.NDArray[Any], begin_s: float, end_s: float) -> list[Gap]:
    """The stretches between two bounds without samples: longer than ``GAP_INTERVALS`` of the samples' own interval.

    ``times`` ascend and may repeat, as of a series with several labels. Fewer than three samples have no interval.
    """
    times = np.unique(times.astype(float))
    times = times[(times >= begin_s) & (times <= end_s)]
    if len(times) < 3:
        return []
    bounds = np.concatenate([[begin_s], times, [end_s]])
    apart = np.diff(bounds)
    wide = np.flatnonzero(apart > GAP_INTERVALS * float(np.median(np.diff(times))))
    return [Gap(float(bounds[i]), float(bounds[i + 1])) for i in wide]


def _shown(series: Series, begin_s: float, end_s: float, stacked: bool) -> Series:
    """What of it is drawn: between the bounds, with a hole in each gap, in few enough points."""
    x, y = series.x.astype(float), series.y.astype(float)
    half = _half_step(x)  # a value stands for what is around it: that of the last window may stand after the end
    within = (x >= begin_s - half) & (x <= end_s + half)
    x, y = x[within], y[within]
    if stacked:
        return replace(series, x=x, y=np.nan_to_num(y), gaps=())
    found = series.gaps
    if found is None:
        found = [] if series.marks else gaps(x, begin_s, end_s)
    places = np.searchsorted(x, [gap.end_s for gap in found])
    x, y = np.insert(x, places, [(gap.begin_s + gap.end_s) / 2 for gap in found]), np.insert(y, places, np.nan)
    x, y = _thinned(x, y)
    if not series.marks:
        x, y = _without_repeats(x, y)
    return replace(series, x=x, y=y, gaps=found)


def _half_step(x: Floats) -> float:
    """Half of the distance between two times, in seconds."""
    return float(np.median(np.diff(x))) / 2 if len(x) > 1 else 0.5


def _without_repeats(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Without the points in the middle of a level stretch: the line is the same."""
    if len(y) < 3:
        return x, y
    level = (y[1:-1] == y[:-2]) & (y[1:-1] == y[2:])
    keep = np.concatenate([[True], ~level, [True]])
    return x[keep], y[keep]


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """At most ``POINTS_MAX`` points; each bin keeps its smallest, its largest, and a hole, so that none disappears."""
    if len(x) <= POINTS_MAX:
        return x, y
    bins = POINTS_MAX // 3 - 1
    size = -(-len(y) // bins)
    padded = np.full(bins * size, np.nan)
    padded[: len(y)] = y
    grid, first = padded.reshape(bins, size), np.arange(bins) * size
    hole = np.isnan(grid)
    low, high = np.where(hole, np.inf, grid).argmin(axis=1), np.where(hole, -np.inf, grid).argmax(axis=1)
    kept = np.concatenate([[0, len(y) - 1], first + low, first + high, (first + hole.argmax(axis=1))[hole.any(axis=1)]])
    kept = np.unique(kept[kept < len(y)])
    return x[kept], y[kept]


def _together(series: Iterable[Series]) -> Iterator[tuple[Gap, str]]:
    """The gaps of all curves by time, each once with the names of those that have it."""
    names: dict[Gap, list[str]] = {}
    for one in series:
        for gap in one.gaps or ():
            names.setdefault(gap, []).append(one.name)
    for gap in sorted(names, key=lambda gap: gap.begin_s):
        yield gap, ", ".join(dict.fromkeys(names[gap]))


def _gap_words(gap: Gap, names: str) -> str:
    why = f" ({gap.why})" if gap.why else ""
    return f"{names} {gap.begin_s:.1f}–{gap.end_s:.1f} s{why}"


def _told(gaps: Sequence[tuple[Gap, str]]) -> Markup:
    if not gaps:
        return Markup("")
    said = "; ".join(_gap_words(*one) for one in gaps[:_GAPS_TOLD])
    more = f"; and {len(gaps) - _GAPS_TOLD} more" if len(gaps) > _GAPS_TOLD else ""
    return Markup('<p class="incomplete"><b>data incomplete:</b> {}{}</p>').format(said, more)


# ── the picture ──


def _top(chart: Chart, series: Sequence[Series]) -> float:
    """The upper end of the axis: all zeros are a flat line, not a scale of 0.05."""
    if chart.stacked:
        highest = float(np.sum([one.y for one in series], axis=0).max(initial=0.0))
    else:
        highest = max(float(np.nanmax(one.y, initial=0.0)) for one in series)
    highest = max(highest, chart.limit or 0.0, 1.0)
    step = _step(highest, 4)
    return step * math.ceil(highest / step - 1e-9)


def _step(span: float, most: int) -> float:
    """The smallest round number of which at most ``most`` fit into ``span``."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(step * power for step in _STEPS if span / (step * power) <= most + 1e-9)


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _axes(frame: _Frame) -> Markup:
    """Labels beside and below the box."""
    rise = _step(frame.top, 4)
    heights = [rise * n for n in range(round(frame.top / rise) + 1)]
    step = _step(frame.end_s - frame.begin_s, 8)
    times = [step * n for n in range(math.ceil(frame.begin_s / step), math.floor(frame.end_s / step) + 1)]
    up = [Markup('<i class="y" style="bottom:{}">{}</i>').format(_percent(h / frame.top), number(h)) for h in heights]
    along = [Markup('<i class="x" style="left:{}">{}</i>').format(_percent(frame.x(t)), number(t)) for t in times]
    return Markup("").join([*up, *along, Markup('<i class="x unit">s</i>')])


def _background(
    frame: _Frame, phases: Sequence[PhaseSpan], marks: Sequence[tuple[float, float]], moments: Sequence[Moment]
) -> Markup:
    """Faults, disturbed times, the beginnings of phases, a grid, and moments."""
    parts = [_band("fault", frame, begin, end) for begin, end in _faults(phases, frame.end_s)]
    parts += [_band("disturbed", frame, begin, end) for begin, end in marks]
    rise = _step(frame.top, 4)
    lines = "".join(
        f"M0 {round(_HEIGHT * (1 - rise * n / frame.top))}h{_WIDTH}" for n in range(round(frame.top / rise))
    )
    parts.append(Markup('<path class="grid" d="{}"/>').format(lines))
    begins = "".join(f"M{_x(frame, phase.start_s)} 0v{_HEIGHT}" for phase in phases)
    parts.append(Markup('<path class="phase" d="{}"/>').format(begins))
    for kind in dict.fromkeys(moment.kind for moment in moments):
        times = (m.t_s for m in moments if m.kind == kind and frame.begin_s <= m.t_s <= frame.end_s)
        d = "".join(f"M{_x(frame, t_s)} 0v{_HEIGHT}" for t_s in times)
        parts.append(Markup('<path class="moment {}" d="{}"/>').format(kind, d))
    return _svg("under", parts)


def _svg(css: str, parts: Iterable[Markup]) -> Markup:
    return Markup(
        '<svg class="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true" focusable="false">{}</svg>'
    ).format(css, _WIDTH, _HEIGHT, Markup("").join(parts))


def _faults(phases: Sequence[PhaseSpan], end_s: float) -> Iterator[tuple[float, float]]:
    """From each injection to its heal; to the end where there was none."""
    for phase in phases:
        if phase.fault_start_s is not None:
            until = end_s if phase.end_s is None else phase.end_s
            yield phase.fault_start_s, until if phase.fault_end_s is None else phase.fault_end_s


def _band(kind: str, frame: _Frame, begin_s: float, end_s: float) -> Markup:
    left, right = _x(frame, begin_s), _x(frame, end_s)
    return Markup('<rect class="{}" x="{}" width="{}" height="{}"/>').format(kind, left, right - left, _HEIGHT)


def _holes(frame: _Frame, gaps: Sequence[tuple[Gap, str]]) -> Markup:
    hole = Markup('<i class="hole" style="left:{};right:{}" title="{}">data incomplete</i>')
    return Markup("").join(
        hole.format(_percent(frame.x(gap.begin_s)), _percent(1 - frame.x(gap.end_s)), _gap_words(gap, names))
        for gap, names in gaps
    )


def _curves(chart: Chart, series: Sequence[Series], frame: _Frame) -> Markup:
    parts = [
        Markup('<path id="series-{}-{}" class="{}" style="--c:{}" d="{}"/>').format(
            chart.id, n, _style(chart, one, n), _colour(one, n), _path(chart, series, n, frame)
        )
        for n, one in enumerate(series)
    ]
    # What is stacked is drawn from the top down: each area hides the part of the one before that is not its own.
    curves = parts[::-1] if chart.stacked else parts
    if chart.limit is not None:
        level = round(_HEIGHT * (1 - chart.limit / frame.top))
        curves.append(Markup('<path class="limit" d="M0 {}h{}"/>').format(level, _WIDTH))
    return _svg("curves", curves)


def _style(chart: Chart, series: Series, n: int) -> str:
    if chart.stacked:
        return "area"
    return "marks" if series.marks else f"line d{_dash(n)}"


def _dash(n: int) -> int:
    return (n + n // COLOURS) % DASHES


def _colour(series: Series, n: int) -> str:
    return series.colour or f"var(--c{n % COLOURS})"


def _path(chart: Chart, series: Sequence[Series], n: int, frame: _Frame) -> str:
    if chart.stacked:
        return _area(series[n].x, np.sum([one.y for one in series[: n + 1]], axis=0), frame)
    return _line(series[n], frame)


def _area(x: Floats, y: Floats, frame: _Frame) -> str:
    """Steps down to the axis; each time is the middle of its step."""
    half = _half_step(x)
    steps = "".join(f"V{_y(frame, b)}H{_x(frame, a + half)}" for a, b in zip(x, y, strict=True))
    return f"M{_x(frame, float(x[0]) - half)} {_HEIGHT}{steps}V{_HEIGHT}Z"


def _line(series: Series, frame: _Frame) -> str:
    """Whole numbers, relative to the point before: short, and the page has many."""
    parts, last = [], None
    for t_s, value in zip(series.x.tolist(), series.y.tolist(), strict=True):
        if math.isnan(value):
            last = None
            continue
        at = _x(frame, t_s), _y(frame, value)
        if last is None or series.marks:
            # A line of no length has round ends: a dot, also for a value that has no neighbour.
            parts.append(f"M{at[0]} {at[1]}h0")
        else:
            right, down = at[0] - last[0], at[1] - last[1]
            parts.append(f"l{right}{down}" if down < 0 else f"l{right} {down}")
        last = at
    return "".join(parts)


def _x(frame: _Frame, t_s: float) -> int:
    return round(_WIDTH * frame.x(t_s))


def _y(frame: _Frame, value: float) -> int:
    return round(_HEIGHT * (1 - value / frame.top))


# ── words and numbers ──


def _range(series: Series) -> str:
    low, high = number(float(np.nanmin(series.y))), number(float(np.nanmax(series.y)))
    return low if low == high else f"{low}–{high}"


def _legend(chart: Chart, series: Sequence[Series]) -> Markup:
    item = Markup('<li style="--c:{}"><i class="key {}"></i>{} <span>{}</span></li>')
    items = [
        item.format(_colour(one, n), _style(chart, one, n), one.name, _range(one) if np.isfinite(one.y).any() else "")
        for n, one in enumerate(series)
    ]
    if chart.limit is not None:
        items.append(Markup('<li><i class="key limit"></i>limit {}</li>').format(number(chart.limit)))
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def _described(chart: Chart, series: Sequence[Series], gaps: Sequence[tuple[Gap, str]]) -> str:
    """The chart in a sentence, for who cannot see it."""
    curves = "; ".join(f"{one.name} {_range(one)}" for one in series if np.isfinite(one.y).any())
    return f"{chart.title}, {chart.unit}: {curves}" + ("; data incomplete" if gaps else "")


def _numbers(
    chart: Chart,
    series: Sequence[Series],
    frame: _Frame,
    gaps: Sequence[tuple[Gap, str]],
    phases: Sequence[PhaseSpan],
    marks: Sequence[tuple[float, float]],
    moments: Sequence[Moment],
) -> Markup:
    """The same as JSON. Times in hundredths of a second, each but the first as the distance from the one before."""
    grids: dict[tuple[int, ...], int] = {}
    curves = []
    for one in series:
        hundredths = np.round(one.x * 100).astype(int)
        grid = tuple(np.diff(hundredths, prepend=0).tolist())
        curves.append(
            {"name": one.name, "grid": grids.setdefault(grid, len(grids)), "y": [_value(y) for y in one.y.tolist()]}
            | ({"marks": True} if one.marks else {})
        )
    data = {
        "span": [round(frame.begin_s, 2), round(frame.end_s, 2)],
        "unit": chart.unit,
        "limit": chart.limit,
        "stacked": chart.stacked,
        "grids": [*map(list, grids)],
        "series": curves,
        "gaps": [[round(gap.begin_s, 2), round(gap.end_s, 2)] for gap, _ in gaps],
        "phases": [round(phase.start_s, 2) for phase in phases],
        "faults": [[round(edge, 2) for edge in one] for one in _faults(phases, frame.end_s)],
        "disturbed": [[round(edge, 2) for edge in one] for one in marks],
        "moments": [[round(moment.t_s, 2), moment.kind] for moment in moments],
    }
    # `</script>` ends a script, and `<!--<script>` lets it swallow the rest of the page.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return Markup('<script type="application/json">{}</script>').format(Markup(text))


def _value(y: float) -> float | int | None:
    """Four significant digits; whole numbers without a point."""
    if math.isnan(y):
        return None
    value = float(f"{y:.4g}")
    return int(value) if value.is_integer() else value
