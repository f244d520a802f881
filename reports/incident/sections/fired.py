"""Which checks and alerts told of it, and which did not."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.incident import NOT_MEASURED, Block, Figure, Items, said
from reports.incident.case import Case, utc
from reports.incident.times import Times

ORDER, TITLE = 60, "Checks and alerts"


def blocks(case: Case, times: Times) -> Iterator[Block]:
    """What failed, what fired, what was silent."""
    reds = case.reds()
    if reds:
        yield said("Checks that failed:")
        yield Items(tuple(said(f"{red.name}: {red.why}") for red in reds))
    told = [one for one in case.alerts() if not one.before]
    yield said("Alerts that fired:" if told else "No alert fired.")
    if told:
        yield Items(tuple(said(_line(case, one.name, one.severity, one.fired_s, one.cleared_s)) for one in told))
    silent = case.silent()
    if silent is None:
        yield said(
            "Alerts that did not fire: ", Figure("alerts.silent", NOT_MEASURED), ": the server does not tell its rules."
        )
    elif silent:
        yield said("Alerts that did not fire:")
        yield Items(tuple(said(name) for name in silent))


def _line(case: Case, name: str, severity: str, fired_s: float, cleared_s: float | None) -> str:
    until = "still firing at the end" if cleared_s is None else f"cleared {utc(case, cleared_s)}"
    return f"{name}{f' ({severity})' if severity else ''}: fired {utc(case, fired_s)}, {until}"
