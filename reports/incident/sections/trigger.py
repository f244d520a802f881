"""What set it off, and what the system did about it by itself."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.incident import Block, Inline, Link, Table, said
from reports.incident.case import Case, figure
from reports.incident.times import Times

ORDER, TITLE = 40, "Trigger, and what the system did by design"


def blocks(case: Case, times: Times) -> Iterator[Block]:
    """The trigger with its sources, what is not known of it, then counts."""
    found = case.trigger()
    parts: list[Inline] = [found.what]
    for source in found.sources:
        parts += [" ", Link(source)]
    yield said(*parts)
    if found.unknown:
        yield said(found.unknown)
    rows = tuple((said(what), said(figure(f"design.{id_}", n, "", of))) for id_, what, n, of in case.by_design())
    yield Table(("what", "how often"), rows)
