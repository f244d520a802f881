"""What to do so that it does not happen again: each with the drill that would show that it is done."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.incident import Blank, Block, Table, said
from reports.incident import suggest
from reports.incident.case import Case
from reports.incident.times import Times

ORDER, TITLE = 100, "Action items"


def blocks(case: Case, times: Times) -> Iterator[Block]:
    """Suggested from what failed and from who was silent; owner and date are for people."""
    found = suggest.actions(case, times)
    if not found:
        yield said("None is suggested: nothing was seen to fail.")
        return
    yield Table(
        ("type", "action", "shown to be done by", "owner", "due"),
        tuple(
            (said(one.type), said(one.what), said(one.verified_by), said(Blank(f"{one.id}.owner", "owner")),
             said(Blank(f"{one.id}.due", "date")))
            for one in found
        ),
    )  # fmt: skip
