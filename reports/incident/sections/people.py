"""What no metric knows: for people to write."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.incident import Blank, Block, said
from reports.incident.case import Case
from reports.incident.times import Times

ORDER, TITLE = 90, "Analysis"
_ASKED = (
    ("contributing-factors", "Contributing factors", "what made it possible, and what made it worse"),
    ("went-well", "What went well", "what kept it from being worse"),
    ("lucky", "Where we got lucky", "what could as well have gone the other way"),
    ("responders", "Responders", "who took part, and in which role"),
)


def blocks(case: Case, times: Times) -> Iterator[Block]:
    """One blank each."""
    for id_, title, asks in _ASKED:
        yield said(f"{title}:")
        yield Blank(id_, asks)
