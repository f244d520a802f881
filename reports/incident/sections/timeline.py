"""What happened when, each line with where that is known from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from harness.model.incident import NOT_MEASURED, Block, Figure, Link, Table, said
from reports.incident import severity
from reports.incident.case import ALERTS_SHOWN, Case, Entry, utc
from reports.incident.times import Moment, Times, gap
from reports.panel import anchor

ORDER, TITLE = 30, "Timeline"
#: So much of what happened is in the id of its time.
_ID_CHARS = 60
#: Times that there are only where users were not served as promised.
_OF_USERS = ("began", "first-failure", "mitigated", "resolved", "all-clear")
NONE = "none"


def blocks(case: Case, times: Times) -> Iterator[Block]:
    """The incident's own times first; then everything, in order."""
    rows = []
    for moment in times.moments:
        shown = _nothing(case, times, moment)
        if moment.at_s is not None:
            shown = utc(case, moment.at_s, moment.within_s)
        rows.append((said(moment.name), said(Figure(f"times.{moment.id}", shown, moment.source)), said(moment.why)))
    began, detected = times.at("began"), times.at("detected")
    later = gap(began, detected) if began.at_s is not None else _nothing(case, times, began)
    rows.append(
        (
            said("detection gap"),
            said(Figure("times.gap", later, detected.source)),
            said("detected − began"),
        )
    )
    yield Table(("time", "when", "by what"), tuple(rows))
    events = sorted((*case.entries(), *_alerts(case)), key=lambda entry: entry.at_s)
    yield Table(
        ("UTC", "event", "source"),
        tuple(
            (said(Figure(id_, utc(case, e.at_s, e.within_s), e.source)), said(e.what), said(Link(e.source)))
            for id_, e in zip(_ids(events), events, strict=True)
        ),
    )


def _nothing(case: Case, times: Times, moment: Moment) -> str:
    """What stands where a time is not there: users were well all the time, or nobody knows."""
    well = not times.outside and not severity.unseen(case)
    return NONE if well and moment.id in _OF_USERS else NOT_MEASURED


def _ids(events: Sequence[Entry]) -> Iterator[str]:
    """By what happened, numbered where that happened again: they stay as they are where something else is added."""
    seen: Counter[str] = Counter()
    for one in events:
        id_ = f"timeline.{anchor('at', one.what)[:_ID_CHARS]}"
        seen[id_] += 1
        yield id_ if seen[id_] == 1 else f"{id_}.{seen[id_]}"


def _alerts(case: Case) -> Iterator[Entry]:
    fired = [alert for alert in case.alerts() if not alert.before]
    if more := fired[ALERTS_SHOWN:]:
        yield Entry(more[0].fired_s, f"and {len(more)} more alerts, from here on", case.alert_source())
    for alert in fired[:ALERTS_SHOWN]:
        source = alert.source or case.alert_source()
        yield Entry(alert.fired_s, f"alert fires: {alert.told}", source)
        if alert.cleared_s is not None:
            yield Entry(alert.cleared_s, f"alert clears: {alert.told}", source)
