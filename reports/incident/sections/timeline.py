"""What happened when, each line with where that is known from."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.incident import NOT_MEASURED, Block, Figure, Link, Table, said
from reports.incident.case import Case, Entry, utc
from reports.incident.times import Times, gap

ORDER, TITLE = 30, "Timeline"


def blocks(case: Case, times: Times) -> Iterator[Block]:
    """The incident's own times first; then everything, in order."""
    rows = []
    for moment in times.moments:
        shown = NOT_MEASURED if moment.at_s is None else utc(case, moment.at_s, moment.within_s)
        rows.append((said(moment.name), said(Figure(f"times.{moment.id}", shown, moment.source)), said(moment.why)))
    began, detected = times.at("began"), times.at("detected")
    rows.append(
        (
            said("detection gap"),
            said(Figure("times.gap", gap(began, detected), detected.source)),
            said("detected − began"),
        )
    )
    yield Table(("time", "when", "by what"), tuple(rows))
    events = sorted((*case.entries(), *_alerts(case)), key=lambda entry: entry.at_s)
    yield Table(
        ("UTC", "event", "source"),
        tuple((said(utc(case, e.at_s, e.within_s)), said(e.what), said(Link(e.source))) for e in events),
    )


def _alerts(case: Case) -> Iterator[Entry]:
    for told in case.alerts():
        if told.before:
            continue
        source = told.source or case.alert_source()
        labels = ", ".join(f"{name}={value}" for name, value in sorted(told.labels.items()))
        name = f"{told.name} ({labels})" if labels else told.name
        yield Entry(told.fired_s, f"alert fires: {name}", source)
        if told.cleared_s is not None:
            yield Entry(told.cleared_s, f"alert clears: {name}", source)
