"""What ran, and how it was configured."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.incident import Block, Table, said
from reports.incident.case import Case
from reports.incident.times import Times

ORDER, TITLE = 70, "Contributing configuration, versions and environment"


def blocks(case: Case, times: Times) -> Iterator[Block]:
    """Configuration first."""
    configuration = case.configuration()
    if configuration:
        yield Table(("configured", "value"), tuple((said(name), said(value)) for name, value in configuration))
    else:
        yield said("Configuration: [not measured]. Metrics do not tell it.")
    yield Table(("what ran", "version"), tuple((said(name), said(text)) for name, text in case.versions()))
