"""The scenario that brings it about again, and the commands that run it."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.incident import Block, Lines, said
from reports.incident.case import Case
from reports.incident.scenario import NAME, Again
from reports.incident.times import Times

ORDER, TITLE = 95, "Bring it about again"


def blocks(case: Case, _: Times) -> Iterator[Block]:
    """What is in the file, and how it is run on a stack as it should be and as it was."""
    again = case.again()
    if not isinstance(again, Again):
        yield said(again)
        return
    yield said(f"{NAME}, beside this report, brings it about again. It passes once the action items are done:")
    yield Lines((again.command,))
    if again.as_it_was is not None:
        yield said("It fails on the stack as it was, with its defects switched on:")
        yield Lines((again.as_it_was,))
    for sentence in again.said:
        yield said(sentence)
