"""Which checks and alerts reported it, and which did not."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.incident import NOT_MEASURED, Block, Figure, Items, said
from reports.incident.case import Case, FiredAlert, listed, utc
from reports.incident.times import Times

ORDER, TITLE = 60, "Checks and alerts"


def blocks(case: Case, times: Times) -> Iterator[Block]:
    """What failed, what fired, what was silent."""
    reds = case.reds()
    if reds:
        yield said("Checks that failed:")
        yield Items(tuple(said(f"{red.name}: {red.why}") for red in reds))
    fired = [one for one in case.alerts() if not one.before]
    yield said("Alerts that fired:" if fired else "No alert fired.")
    if fired:
        yield listed([_line(case, one) for one in fired])
    if before := dict.fromkeys(one.name for one in case.alerts() if one.before):
        yield said("Alerts that had fired before, and still did at the beginning:")
        yield listed(list(before))
    if others := case.others():
        count = Figure("alerts.others", f"{len(others):,}", case.alert_source())
        yield said("Alerts that fired and neither have the labels of SELECTOR nor name a component: ", count, ".")
        yield listed(list(dict.fromkeys(one.name for one in others)))
    silent = case.silent()
    if silent is None:
        yield said(
            "Alerts that did not fire: ", Figure("alerts.silent", NOT_MEASURED), ": the server does not tell its rules."
        )
    elif silent:
        yield said("Alerts that did not fire:")
        yield listed(silent)


def _line(case: Case, one: FiredAlert) -> str:
    until = "still firing at the end" if one.cleared_s is None else f"cleared {utc(case, one.cleared_s)}"
    severity = f", {one.severity}" if one.severity else ""
    return f"{one.told}{severity}: fired {utc(case, one.fired_s)}, {until}"
