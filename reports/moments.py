"""What happened at which moment of a run: its phases and faults, and the alerts, ejections, restarts and recoveries.

They stand as rows of bars above the charts of the timeline, and as lines in them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from harness.evidence.view import RunView
from harness.judge import alerts
from harness.judge.checks import recovers_within
from harness.judge.checks.fault_window import healed_s
from harness.judge.slo import NotMeasured
from harness.model.verdict import Verdict
from reports.charts import Moment, begin_of
from reports.panel import table

#: The rows of the strip from the top, and what they are called.
ROWS = {
    "phase": "phases",
    "fault": "faults",
    "step": "steps",
    "alert": "alerts",
    "ejected": "ejected",
    "down": "down",
    "recovered": "recovered",
}
#: They stay in sight while the charts go by.
_HEAD = ("phase", "fault")
#: Shorter is a sample that was late, not a component that was down.
_DOWN_S_MIN = 1.0
#: Width of a letter of the strip as a share of its width, where that is as wide as on a page of paper.
_LETTER, _PADDING = 0.0078, 0.012
_RECOVERY = recovers_within.check("").id


@dataclass(frozen=True)
class Bar:
    """Something that lasted, in seconds since the run's zero; ``end_s`` equal to ``begin_s`` for a mere moment.

    ``end_s`` is infinite for what had not ended when the run did. ``more`` is what the name leaves out.
    """

    row: str
    begin_s: float
    end_s: float
    name: str
    more: str = ""

    @property
    def lasts(self) -> bool:
        """Whether it is more than a moment."""
        return self.end_s > self.begin_s


def bars(view: RunView, verdict: Verdict) -> tuple[Bar, ...]:
    """All of a run, row by row, each in the order of time."""
    found = [
        *_phases(view),
        *_faults(view),
        *_steps(view),
        *_alerts(view),
        *ejections(view),
        *down(view),
        *_recoveries(view, verdict),
    ]
    order = list(ROWS)
    return tuple(sorted(found, key=lambda bar: (order.index(bar.row), bar.begin_s)))


def lines(found: Iterable[Bar]) -> list[Moment]:
    """What charts mark of them: the beginning of each but phases and faults, which they have as bands, and steps."""
    return [Moment(bar.begin_s, bar.row, bar.name) for bar in found if bar.row not in ("phase", "fault", "step")]


def _phases(view: RunView) -> Iterator[Bar]:
    for span in view.phases:
        yield Bar("phase", span.start_s, math.inf if span.end_s is None else span.end_s, span.name, span.kind)


def _faults(view: RunView) -> Iterator[Bar]:
    healed = {event.data.get("fault"): event.t_s for event in view.events("fault_healed")}
    for event in view.events("fault_injecting"):
        fault = event.data.get("fault")
        name = f"{event.data.get('type', '?')} {event.data.get('on', '')}".strip()
        yield Bar("fault", event.t_s, healed.get(fault, math.inf), name, f"in {event.data.get('phase', '?')}")


def _steps(view: RunView) -> Iterator[Bar]:
    """How far a fault or an operation that takes its time had come."""
    for event in view.events("fault_step"):
        told = {key: value for key, value in event.data.items() if key not in ("fault", "phase", "on", "step")}
        more = ", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in told.items() if value is not None)
        step = str(event.data.get("step", "?")).replace("_", " ")
        yield Bar("step", event.t_s, event.t_s, f"{step} {event.data.get('on', '')}".strip(), more)


def _alerts(view: RunView) -> Iterator[Bar]:
    """By delivery; what fired before the run's load is not this run's."""
    for alert in alerts.seen(view):
        if not alert.before:
            cleared = math.inf if alert.cleared_s is None else alert.cleared_s
            yield Bar("alert", alert.fired_s, cleared, alert.name, f"{alert}, {alert.severity}")


def ejections(view: RunView) -> Iterator[Bar]:
    """While any gateway sent a replica nothing because it found it unhealthy, as its own statistics say."""
    for replica in view.replicas:
        out = [
            (begin, end, gateway)
            for gateway in view.gateways
            for begin, end in _zero(view.metrics(gateway, "server_up", f"server={replica}"))
        ]
        for begin, end, gateways in _merged(out):
            yield Bar("ejected", begin, end, replica, f"by {', '.join(gateways)}")


def down(view: RunView) -> Iterator[Bar]:
    """While a component did not answer its probe or its process did not run; and where it was restarted unasked."""
    for component in view.components:
        out = [
            (begin, end, why)
            for metric, why in (("up", "no answer"), ("running_state", "not running"))
            for begin, end in _zero(view.metrics(component, metric))
        ]
        for begin, end, whys in _merged(out):
            if end - begin >= _DOWN_S_MIN:
                yield Bar("down", begin, end, component, ", ".join(whys))
        restarts = view.metrics(component, "restarts_total")
        for t_s in restarts["t_s"][restarts["value"].diff().gt(0)]:
            yield Bar("down", float(t_s), float(t_s), f"restart of {component}", "its supervisor started it again")


def _recoveries(view: RunView, verdict: Verdict) -> Iterator[Bar]:
    """From a heal until users were served again, where that was measured."""
    for result in verdict.checks:
        if result.id != _RECOVERY or result.phase is None or result.measured is None:
            continue
        try:
            healed = healed_s(view, result.phase)
        except NotMeasured:
            continue
        name, more = f"{result.measured:.1f} s", f"users are served again {result.measured:.1f} s after {result.phase}"
        yield Bar("recovered", healed + result.measured, healed + result.measured, name, more)


def _zero(samples: pd.DataFrame) -> Iterator[tuple[float, float]]:
    """From each first sample that is 0 to the next that is not; without an end where there was none."""
    times, zero = samples["t_s"].to_numpy(dtype=float), samples["value"].eq(0).to_numpy()
    turns = np.diff(zero.astype(int), prepend=0, append=0)
    for begin, end in zip(np.flatnonzero(turns > 0), np.flatnonzero(turns < 0), strict=True):
        yield float(times[begin]), float(times[end]) if end < len(times) else math.inf


def _merged(spans: Iterable[tuple[float, float, str]]) -> Iterator[tuple[float, float, list[str]]]:
    """Overlapping ones as one, with what each had to say."""
    current: tuple[float, float, list[str]] | None = None
    for begin, end, what in sorted(spans):
        if current is not None and begin <= current[1]:
            current = current[0], max(current[1], end), [*dict.fromkeys([*current[2], what])]
            continue
        if current is not None:
            yield current
        current = begin, end, [what]
    if current is not None:
        yield current


# ── the strip ──


def strip(found: Sequence[Bar], view: RunView, end_s: float) -> Markup:
    """The bars above the charts, on the same time axis, and all of them as a table.

    Where a bar stands is for CSS to compute, from its seconds and from those that are shown: zoom changes only these.
    """
    begin_s = begin_of(view.phases)
    strips = Markup("").join(
        Markup('<div class="{}" style="--begin:{};--end:{}">{}</div>').format(
            css,
            _css(begin_s),
            _css(end_s),
            Markup("").join(_row(row, [bar for bar in found if bar.row == row], begin_s, end_s) for row in rows),
        )
        for css, rows in (("strip head", _HEAD), ("strip", [row for row in ROWS if row not in _HEAD]))
    )
    lasted = ((ROWS[b.row], b.name, f"{b.begin_s:.1f} s", _until(b), b.more) for b in found)
    listed = table(("what", "which", "from", "until", "more"), lasted)
    return strips + Markup("<details><summary>All {} as a table</summary>{}</details>").format(len(found), listed)


def _until(bar: Bar) -> str:
    if not bar.lasts:
        return "—"
    return "the run ended before" if math.isinf(bar.end_s) else f"{bar.end_s:.1f} s"


def _row(row: str, found: Sequence[Bar], begin_s: float, end_s: float) -> Markup:
    """One row, as many lines high as keep names from standing on each other."""
    shown = [bar for bar in found if bar.end_s >= begin_s and bar.begin_s <= end_s]
    if not shown:
        return Markup("")
    lines = _lines(shown, begin_s, end_s)
    bars_ = (_bar(bar, line, limit, end_s) for bar, (line, limit) in zip(shown, lines, strict=True))
    return Markup('<div class="row {}" style="--lines:{}"><b>{}</b><div>{}</div></div>').format(
        row, 1 + max(line for line, _ in lines), ROWS[row], Markup("").join(bars_)
    )


def _lines(found: Sequence[Bar], begin_s: float, end_s: float) -> list[tuple[int, float]]:
    """Of each bar its line, and where the next one in that line begins: no name goes further."""
    span, taken = max(end_s - begin_s, 1.0), list[float]()
    places: list[int] = []
    for bar in found:
        begin = max(bar.begin_s, begin_s)
        line = next((n for n, until in enumerate(taken) if until <= begin), len(taken))
        words = begin + span * (_PADDING + _LETTER * len(bar.name))
        taken[line : line + 1] = [max(words, min(bar.end_s, end_s))]
        places.append(line)
    nexts = [
        min((other.begin_s for other, place in zip(found[n + 1 :], places[n + 1 :], strict=True) if place == line),
            default=end_s)
        for n, line in enumerate(places)
    ]  # fmt: skip
    return list(zip(places, nexts, strict=True))


def _bar(bar: Bar, line: int, limit_s: float, end_s: float) -> Markup:
    """``limit_s`` bounds its name, which may be longer than the bar."""
    until = end_s if math.isinf(bar.end_s) else bar.end_s
    said = f"{bar.name}: {bar.begin_s:.1f} s" + (f" – {_until(bar)}" if bar.lasts else "")
    said += f"; {bar.more}" if bar.more else ""
    bar_ = Markup('<i class="{}" style="--f:{};--t:{};--line:{}" title="{}"></i>').format(
        "bar" if bar.lasts else "point", _css(bar.begin_s), _css(until), line, said
    )
    name = Markup('<span style="--f:{};--t:{};--line:{}">{}</span>')
    return bar_ + name.format(_css(bar.begin_s), _css(limit_s), line, bar.name)


def _css(seconds: float) -> str:
    return f"{seconds:.2f}"
