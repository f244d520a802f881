"""Some of the requests that failed, with what was logged about them."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.incident import Block, Lines, said
from reports.incident.case import Case
from reports.incident.times import Times

ORDER, TITLE = 80, "Requests and their log lines"


def blocks(case: Case, times: Times) -> Iterator[Block]:
    """By their ids."""
    found = case.requests()
    if not found:
        yield said("None is known by its id.")
    for one in found:
        yield said(f"{one.id}: {one.what}")
        if one.lines:
            yield Lines(one.lines)
