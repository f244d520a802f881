"""Where the numbers of an incident report come from, in words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from harness.model.incident import Figure, Link, Report, Source


def every(report: Report) -> list[Source]:
    """Each source once, in the order of the report."""
    return list(dict.fromkeys(_of(report)))


def linked(report: Report) -> list[Source]:
    """Those that are only pointed at."""
    return list(dict.fromkeys(one.source for one in report.inlines() if isinstance(one, Link)))


def stretch(source: Source) -> str:
    """The range that was asked, in UTC with milliseconds; "" where there is none."""
    if source.from_s is None or source.until_s is None:
        known = source.until_s if source.from_s is None else source.from_s
        return "" if known is None else f"at {_utc(known)} UTC"
    return f"{_utc(source.from_s)} to {_utc(source.until_s)} UTC"


def sentence(source: Source | None) -> str:
    """All of it on one line, as plain text."""
    if source is None:
        return "no source"
    said = f"{source.place}: {source.question}"
    return "; ".join(part for part in (said, stretch(source), source.how) if part)


def _of(report: Report) -> Iterator[Source]:
    for one in report.inlines():
        if isinstance(one, Figure | Link) and one.source is not None:
            yield one.source


def _utc(at_s: float) -> str:
    """To the nearest millisecond."""
    return datetime.fromtimestamp(round(at_s, 3), UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")
