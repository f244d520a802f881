"""The machine: who used its processors over time, and when others disturbed it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from harness.evidence import interference
from harness.evidence.interference import Span
from harness.evidence.view import RunView
from harness.model.verdict import Verdict
from reports.charts import Chart, Series, draw
from reports.panel import table
from reports.panels import timeline

ORDER, TITLE = 22, "The machine"
_WORDS = {
    "others": "CPU of others",
    "psi": "pressure (PSI)",
    "throttled": "throttling by a quota",
}


def html(view: RunView, verdict: Verdict) -> Markup:
    """A sentence, what could not be read, the curves with the disturbed times, and a list of those."""
    if not interference.known(view):
        return Markup(
            '<p class="nodata">The machine was not watched in this run: nothing is known about interference.</p>'
        )
    spans = interference.spans(view)
    begin, end = view.phases[0].start_s if view.phases else 0.0, timeline.end_of(view)
    parts = [Markup("<p>{}</p>").format(_sentence(spans, begin, end, verdict)), _unread(view)]
    marks = [(span.begin_s, span.end_s) for span in spans]
    parts += [draw(chart, view.phases, end, marks) for chart in (_cores(view), _late(view))]
    return Markup("").join([*parts, _stretches(spans)])


def _sentence(spans: Sequence[Span], begin: float, end: float, verdict: Verdict) -> str:
    """What a reader has to know."""
    if said := interference.describe(spans, begin, end, f"{end - begin:.0f} s"):
        passed = verdict.status == "PASS"
        meaning = "a FAIL that is about time can become INCONCLUSIVE in such a time"
        return f"{said[0].upper()}{said[1:]}; {'every check passed in spite of it' if passed else meaning}."
    return f"No interference on the machine in these {end - begin:.0f} s."


def _stretches(spans: Sequence[Span]) -> Markup:
    """How many there were, how long in all, and the longest; folded, because of the machine there may be many."""
    if not spans:
        return Markup("")
    longest = max(spans, key=lambda span: span.length_s)
    rows = [(f"{s.begin_s:.1f} s", f"{s.length_s:.1f} s", s.why) for s in spans]
    count = "One disturbed stretch" if len(spans) == 1 else f"{len(spans)} disturbed stretches"
    return Markup(
        "<details><summary>{}, {:.1f} s in all; the longest from {:.1f} s for {:.1f} s: {}</summary>{}</details>"
    ).format(
        count, sum(s.length_s for s in spans), longest.begin_s, longest.length_s, longest.why,
        table(("from", "for", "what disturbed it"), rows),
    )  # fmt: skip


def _unread(view: RunView) -> Markup:
    """What this machine does not show, or an empty text."""
    unread = [item for event in view.events("machine_unread") for item in dict(event.data.get("unread", {})).items()]
    lines = [Markup("<li>{}: {}</li>").format(_WORDS.get(what, what), why) for what, why in unread]
    return Markup("<p>Not measured here:</p><ul>{}</ul>").format(Markup("").join(lines)) if lines else Markup("")


def _cores(view: RunView) -> Chart:
    names = {"busy_cores": "busy", "ours_cores": "ours", "others_cores": "others"}
    series = [_series(view, metric, name) for metric, name in names.items()]
    cores = view.metrics(interference.COMPONENT, "cores")["value"]
    steal = _series(view, "steal_ratio", "steal", float(cores.iloc[-1]) if len(cores) else 1.0)
    note = "grey: disturbed by others; ours is all that this stack, harness and load ever started"
    return Chart("machine-cores", "Processors in use", "cores", [*series, steal], note=note)


def _late(view: RunView) -> Chart:
    note = "how late a nap of 10 ms ended at worst, per half second; our own load makes it tens of ms"
    series = [_series(view, "late_wakeup_ms", "late")]
    return Chart("machine-late", "Late wake-ups", "ms", series, limit=interference.STANDSTILL_MS, note=note)


def _series(view: RunView, metric: str, name: str, scale: float = 1.0) -> Series:
    frame = view.metrics(interference.COMPONENT, metric)
    return Series(name, frame["t_s"].to_numpy(dtype=float), frame["value"].to_numpy(dtype=np.float64) * scale)
