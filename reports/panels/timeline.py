"""What happened over time, on one axis: users, gateways, replicas, and what each component used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup

from harness.evidence import observer
from harness.evidence.view import TARGET, RunView
from harness.judge.sli import samples_needed
from harness.model.verdict import Verdict
from reports import charts, moments
from reports.charts import Chart, Floats, Gap, Series, draw
from reports.moments import Bar

ORDER, TITLE = 20, "Timeline"
#: A window holds so many requests where the run is long enough for that, and is one of these, in seconds.
_PER_WINDOW = 20
_WIDTHS = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
#: Windows in a run: more than these are no finer on paper, fewer would show nothing of a phase.
_WINDOWS_MAX, _WINDOWS_MIN = 300, 30
#: Of counters whose growth is shown as a ratio: long enough for some requests to finish.
_COUNTED_S = 5.0
#: The outcomes that are no failure have quiet colours, the others take these in turn.
_QUIET = {"ok": "var(--ok)", "cancelled_intended": "var(--cut)", "cancelled_drain": "var(--drain)"}
#: The same one in every chart.
_OF_PERCENT = {5: "var(--c2)", 50: "var(--c0)", 95: "var(--c1)", 99: "var(--c3)", 100: "var(--c5)"}
_LOUD = tuple(f"var(--c{n})" for n in (5, 3, 1, 6, 2, 7))


def html(view: RunView, verdict: Verdict) -> Markup:
    """The moments of the run, and all charts below them, sharing the time axis."""
    end_s, found = end_of(view), moments.bars(view, verdict)
    marked = moments.lines(found)
    drawn = [draw(chart, view.phases, end_s, moments=marked) for chart in _charts(view, found, end_s)]
    return moments.strip(found, view, end_s) + Markup("").join(drawn)


def end_of(view: RunView) -> float:
    """Where the time axis of every chart ends, in seconds: with the last phase, or with the last request that ended."""
    ends = [phase.end_s or phase.start_s for phase in view.phases]
    requests = [view.requests[column].max() for column in ("start_s", "end_s")] if len(view.requests) else []
    known = [value for value in (*ends, *requests, 1.0) if not pd.isna(value)]
    return float(max(known))


def _charts(view: RunView, found: Sequence[Bar], end_s: float) -> Iterator[Chart]:
    sampled = _Sampled(view, found, end_s)
    replicas = [name for name in (*view.replicas, TARGET) if name in view.components]
    yield from (_outcomes(view, end_s), _rates(view, end_s), _ttft(view, end_s), _tps(view, end_s))
    yield _stalls(view, end_s)
    for metric, title, unit in (
        ("running", "Requests running in each replica", "requests"),
        ("waiting", "Requests waiting in each replica", "requests"),
        ("kv_usage_ratio", "KV cache in use", "% of blocks"),
    ):
        scale = 100.0 if metric.endswith("_ratio") else 1.0
        yield Chart(metric.replace("_", "-"), title, unit, [sampled.gauge(name, metric, scale) for name in replicas])
    yield from _inside(sampled, replicas)
    yield _gateway_queue(view, sampled)
    yield _share(view, end_s)
    yield from _used(view, sampled)


# ── from the requests ──


@dataclass(frozen=True)
class Windows:
    """Stretches of equal length from 0 on, in seconds."""

    width_s: float
    edges: Floats

    @classmethod
    def of(cls, end_s: float, count: int) -> Windows:
        """For so many requests: as narrow as may be with enough of them in each."""
        wanted = min(end_s / _WINDOWS_MIN, _PER_WINDOW * end_s / max(count, 1))
        least = max(wanted, end_s / _WINDOWS_MAX)
        width = next((one for one in _WIDTHS if one >= least), least)
        return cls(width, np.arange(0.0, math.ceil(end_s / width) + 1) * width)

    @property
    def middles(self) -> Floats:
        """Where a value of each is drawn."""
        return self.edges[:-1] + self.width_s / 2

    def count(self, times: pd.Series) -> Floats:
        """How many there are in each."""
        return np.histogram(times.to_numpy(dtype=float), self.edges)[0].astype(float)


def _rate_windows(end_s: float) -> Windows:
    """One second each, more where the run has more than the page can show."""
    return Windows.of(end_s, 10**9)


def _outcomes(view: RunView, end_s: float) -> Chart:
    windows, final = _rate_windows(end_s), view.final
    times, outcome = final["end_s"].fillna(final["intended_start_s"]), final["outcome"]
    names = sorted(outcome.dropna().unique(), key=lambda name: (name != "ok", name))
    loud = iter(_LOUD * len(names))
    series = [
        Series(name, windows.middles, windows.count(times[outcome.eq(name)]) / windows.width_s,
               _QUIET.get(name) or next(loud))
        for name in names
    ]  # fmt: skip
    note = "final outcome of each request, after retries, at the time it ended; not_sent: when it should have begun"
    return Chart("outcomes", "Outcomes", "requests/s", series, stacked=True, note=note)


def _rates(view: RunView, end_s: float) -> Chart:
    windows, rows = _rate_windows(end_s), view.requests
    first = rows["attempt"].eq(1)
    sent = first & rows["outcome"].ne("not_sent")
    series = [
        Series("offered", windows.middles, windows.count(rows["intended_start_s"][first]) / windows.width_s),
        Series("achieved", windows.middles, windows.count(rows["start_s"][sent]) / windows.width_s),
        Series("with retries", windows.middles, windows.count(rows["start_s"]) / windows.width_s),
    ]
    note = "offered: by the schedule; achieved: when the generator began them; with retries: all attempts"
    return Chart("rates", "Offered and achieved rate", "requests/s", series if len(rows) else [], note=note)


def _ttft(view: RunView, end_s: float) -> Chart:
    good = view.final[view.final["outcome"].eq("ok") & view.final["ttft_from_schedule_ms"].notna()]
    series, note = _percentiles(good["intended_start_s"], good["ttft_from_schedule_ms"], (50, 95, 99), end_s)
    return Chart("ttft", "Time to first token", "ms", series, note=f"from the intended start, by its time; {note}")


def _tps(view: RunView, end_s: float) -> Chart:
    good = view.final[view.final["outcome"].eq("ok")]
    good = good[view.of_streams(good)]
    seconds = (good["e2e_ms"] - good["ttft_ms"]) / 1000
    rate = good["output_tokens"].astype(float) / seconds.where(seconds > 0)
    series, note = _percentiles(good["end_s"][rate.notna()], rate[rate.notna()], (5, 50, 95), end_s)
    return Chart("tps", "Tokens per second of one stream", "tokens/s", series, note=f"by the stream's end; {note}")


def _stalls(view: RunView, end_s: float) -> Chart:
    rows = view.final[view.final["max_stall_ms"].notna()]
    series, note = _percentiles(rows["end_s"], rows["max_stall_ms"], (50, 95, 100), end_s)
    note = f"largest gap between two tokens of a stream, by the stream's end; {note}"
    return Chart("stalls", "Stalls", "ms", series, note=note)


def _percentiles(
    times: pd.Series, values: pd.Series, percents: Sequence[int], end_s: float
) -> tuple[list[Series], str]:
    """Nearest ranks per window, and what to know of them. Dots where most windows have too few samples for one."""
    windows = Windows.of(end_s, len(times))
    window = (times.to_numpy(dtype=float) // windows.width_s).astype(np.int16)
    values_ = values.to_numpy(dtype=float)
    order = np.argsort(values_)
    order = order[np.argsort(window[order], kind="stable")]  # within each window by value
    ranked, grid = values_[order], np.arange(len(windows.middles))
    first = np.searchsorted(window[order], grid)
    counts = np.searchsorted(window[order], grid, side="right") - first
    typical = int(np.median(counts[counts > 0])) if counts.any() else 0
    series = []
    for percent in percents:
        rank = first + np.maximum(0, -(-percent * counts // 100) - 1)
        y = np.full(len(grid), np.nan)
        y[counts > 0] = ranked[rank[counts > 0]]
        few = percent != 100 and typical < samples_needed(percent)
        name = "largest" if percent == 100 else f"p{percent}"
        name += ", few samples" if few else ""
        series.append(Series(name, windows.middles, y, _OF_PERCENT[percent], marks=few))
    note = f"windows of {windows.width_s:g} s, {typical:,} streams in a typical one"
    if any(one.marks for one in series):
        note += "; dots: fewer than that percentile needs"
    return series, note


def _share(view: RunView, end_s: float) -> Chart:
    answered = view.requests[view.requests["replica"].notna()]
    windows, replica = Windows.of(end_s, len(answered)), answered["replica"]
    counts = {one: windows.count(answered["start_s"][replica.eq(one)]) for one in sorted(replica.unique())}
    total = np.sum(list(counts.values()), axis=0) if counts else np.zeros(len(windows.middles))
    with np.errstate(invalid="ignore", divide="ignore"):
        series = [Series(one, windows.middles, 100.0 * n / total) for one, n in counts.items()]
    note = f"which replica answered, of the attempts that got an answer, in windows of {windows.width_s:g} s"
    return Chart("share", "Share of each replica", "% of answers", series, note=note)


# ── from the samples ──


@dataclass(frozen=True)
class _Sampled:
    """Curves of samples, with a hole wherever there were none for longer than their own interval explains."""

    view: RunView
    found: Sequence[Bar]
    end_s: float

    def gauge(self, component: str, metric: str, scale: float = 1.0) -> Series:
        """Its values, times ``scale``."""
        times, values = self._read(component, metric)
        return Series(component, times, scale * values, gaps=self._gaps(component, times))

    def rate(self, component: str, metric: str, labels: str | None = None, name: str = "") -> Series:
        """Growth per second of a counter between each two samples; none where it began again."""
        times, values = self._read(component, metric, labels)
        grown, apart = np.diff(values), np.diff(times)
        with np.errstate(invalid="ignore", divide="ignore"):
            y = np.where((grown >= 0) & (apart > 0), grown / apart, np.nan)
        return Series(name or component, times[1:], y, gaps=self._gaps(component, times))

    def ratio(self, component: str, of: str, to: str, scale: float) -> Series:
        """How much one counter grew for each step of the other, in windows in which that one grew."""
        width = max(_COUNTED_S, self.end_s / _WINDOWS_MAX)
        edges = np.arange(0.0, math.ceil(self.end_s / width) + 1) * width
        part, whole = (self._grown(component, metric, edges) for metric in (of, to))
        with np.errstate(invalid="ignore", divide="ignore"):
            y = np.where(whole > 0, scale * part / whole, np.nan)
        gaps = self._gaps(component, self._read(component, to)[0])
        return Series(component, edges[:-1] + width / 2, y, gaps=gaps)

    def _read(self, component: str, metric: str, labels: str | None = None) -> tuple[Floats, Floats]:
        frame = self.view.metrics(component, metric, labels)
        return frame["t_s"].to_numpy(dtype=float), frame["value"].to_numpy(dtype=float)

    def _grown(self, component: str, metric: str, edges: Floats) -> npt.NDArray[np.float64]:
        """Between the edges; NaN where no sample is near one of them, or the counter began again."""
        times, values = self._read(component, metric)
        if len(times) < 2:
            return np.full(len(edges) - 1, np.nan)
        last = np.searchsorted(times, edges, side="right") - 1
        near = (last >= 0) & (edges - times[last] <= charts.GAP_INTERVALS * float(np.median(np.diff(times))))
        grown = np.diff(np.where(near, values[last], np.nan))
        return np.where(grown >= 0, grown, np.nan)

    def _gaps(self, component: str, times: Floats) -> list[Gap]:
        begin_s = charts.begin_of(self.view.phases)
        return [replace(gap, why=self._why(component, gap)) for gap in charts.gaps(times, begin_s, self.end_s)]

    def _why(self, component: str, gap: Gap) -> str:
        """Whether it was down meanwhile, as far as that is known."""
        down = (bar for bar in self.found if bar.row == "down" and bar.name == component)
        overlaps = (bar.more for bar in down if bar.begin_s < gap.end_s and bar.end_s > gap.begin_s)
        return next((f"{component} was down: {more}" for more in overlaps), "")


def _inside(sampled: _Sampled, replicas: Sequence[str]) -> Iterator[Chart]:
    """What the engines say of their own work."""
    hits = [sampled.ratio(name, "prefix_cache_hits_total", "prefix_cache_queries_total", 100.0) for name in replicas]
    note = "tokens of prompts that need not be computed again"
    yield Chart("prefix-cache", "Prefix-cache hits", "% of prompt tokens", hits, note=note)
    for part, title in (("prefill", "Prefill time"), ("decode", "Decode time")):
        total, count = (f"request_{part}_time_seconds_{end}" for end in ("sum", "count"))
        found = (sampled.ratio(name, total, count, 1000.0) for name in replicas)
        # Who asks for one token, as the synthetic generation does, has no decode: where nobody else finished, none ran.
        series = [replace(one, y=np.where(one.y > 0, one.y, np.nan)) for one in found]
        note = "mean of the requests that finished, the probes' one-token requests among them; none that was cancelled"
        yield Chart(part, f"{title} in each replica", "ms", series, note=note)


def _gateway_queue(view: RunView, sampled: _Sampled) -> Chart:
    series = [sampled.gauge(gateway, "queue_current") for gateway in view.gateways]
    return Chart("gateway-queue", "Queue of each gateway", "requests", series)


def _used(view: RunView, sampled: _Sampled) -> Iterator[Chart]:
    """Memory and processors of each component that the runtime can measure."""
    known = [*view.replicas, *view.gateways]
    others = [name for name in view.components if name not in (*known, observer.COMPONENT)]
    memory = [sampled.gauge(name, "rss_bytes", 1e-6) for name in (*known, *others)]
    yield Chart("memory", "Memory of each component", "MB", memory)
    cores = [sampled.rate(name, observer.CPU) for name in (*known, *others)]
    cores.append(sampled.rate(observer.COMPONENT, observer.CPU, f"source={observer.HARNESS}", "harness and probes"))
    cores.append(replace(sampled.gauge("load", "cpu_ratio"), name="load generator"))
    yield Chart("cpu", "Processors of each component", "cores", cores, note="1 is one processor, wholly used")
