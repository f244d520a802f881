"""What happened over time: outcomes, first tokens, replicas, and who the gateways sent the traffic to."""

from __future__ import annotations

import numpy as np
import pandas as pd
from markupsafe import Markup

from harness.evidence.view import TARGET, RunView
from harness.model.verdict import Verdict
from reports.charts import COLOURS, OUTCOME_COLOURS, Chart, Series, draw

ORDER, TITLE = 20, "Timeline"
#: Width of a TTFT window: wide enough for a median at a few requests per second.
WINDOW_S = 2.0


def html(view: RunView, verdict: Verdict) -> Markup:
    """All charts, sharing the time axis."""
    end_s = end_of(view)
    replicas = [name for name in (*view.replicas, TARGET) if name in view.components]
    drawn = [draw(chart, view.phases, end_s) for chart in (_outcomes(view, end_s), _ttft(view, end_s))]
    for metric, title, unit in (
        ("running", "Requests running in each replica", "requests"),
        ("waiting", "Requests waiting in each replica", "requests"),
        ("kv_usage_ratio", "KV cache in use", "% of blocks"),
    ):
        scale = 100.0 if metric.endswith("_ratio") else 1.0
        series = [_sampled(view, replica, metric, scale) for replica in replicas]
        drawn.append(draw(Chart(metric.replace("_", "-"), title, unit, series), view.phases, end_s))
    drawn.append(draw(_share(view, end_s), view.phases, end_s))
    return Markup("").join(drawn)


def end_of(view: RunView) -> float:
    """Where the time axis of every chart ends, in seconds."""
    ends = [phase.end_s or phase.start_s for phase in view.phases]
    requests = view.requests["start_s"].max() if len(view.requests) else np.nan
    known = [value for value in (*ends, requests, 1.0) if not pd.isna(value)]
    return float(max(known))


def _outcomes(view: RunView, end_s: float) -> Chart:
    final = view.final
    edges = np.arange(0, np.ceil(end_s) + 1, 1.0)
    times = final["end_s"]
    names = sorted(final["outcome"].dropna().unique(), key=lambda name: (name != "ok", name))
    others = iter(c for c in COLOURS if c not in ("#0072B2", "#56B4E9"))
    series = []
    for name in names:
        counts, _ = np.histogram(times[final["outcome"] == name], bins=edges)
        colour = OUTCOME_COLOURS.get(name) or next(others, "#000000")
        series.append(Series(name, edges[:-1] + 0.5, counts.astype(float), colour))
    note = "final outcome of each request, after retries, at the time it ended"
    return Chart("outcomes", "Outcomes", "requests/s", series, stacked=True, note=note)


def _ttft(view: RunView, end_s: float) -> Chart:
    good = view.final[view.final["outcome"].eq("ok") & view.final["ttft_from_schedule_ms"].notna()]
    window = (good["intended_start_s"] // WINDOW_S).astype(int)
    grid = np.arange(0, int(end_s // WINDOW_S) + 1)
    grouped = good["ttft_from_schedule_ms"].groupby(window)
    x = (grid + 0.5) * WINDOW_S
    series = [
        Series(name, x, grouped.quantile(q).reindex(grid).to_numpy(dtype=float), marks=True)
        for name, q in (("median", 0.5), ("p95", 0.95))
    ]
    note = f"from the intended start, by the time of that start; windows of {WINDOW_S:g} s, few samples each"
    return Chart("ttft", "Time to first token", "ms", series, note=note)


def _sampled(view: RunView, component: str, metric: str, scale: float) -> Series:
    frame = view.metrics(component, metric)
    times, values = frame["t_s"].to_numpy(dtype=float), frame["value"].to_numpy(dtype=float) * scale
    return Series(component, *_with_gaps(times, values))


def _with_gaps(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A hole in the curve wherever two samples lie more than 2 s apart: no line is drawn over what was not seen."""
    holes = np.flatnonzero(np.diff(times) > 2.0) + 1
    return np.insert(times, holes, times[holes - 1] + 0.01), np.insert(values, holes, np.nan)


def _share(view: RunView, end_s: float) -> Chart:
    answered = view.requests[view.requests["replica"].notna()]
    edges = np.arange(0, np.ceil(end_s) + WINDOW_S, WINDOW_S)
    replicas = sorted(answered["replica"].unique())
    counts = {r: np.histogram(answered["start_s"][answered["replica"] == r], bins=edges)[0] for r in replicas}
    total = np.sum(list(counts.values()), axis=0) if counts else np.zeros(len(edges) - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        series = [Series(r, edges[:-1] + WINDOW_S / 2, 100.0 * n / total) for r, n in counts.items()]
    note = "which replica answered, of the attempts that got an answer"
    return Chart("share", "Share of each replica", "% of answers", series, note=note)
