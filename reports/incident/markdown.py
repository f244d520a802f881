"""An incident report as Markdown: each number is bold with a footnote that says where it comes from.

What people write stands in the regions of ``people.py``; everything else is made anew each time, and is text whatever
servers and logs hold.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from harness.model.incident import Blank, Block, Figure, Inline, Items, Lines, Link, Report, Source, Table, Text
from reports.incident import sources
from reports.incident.people import region
from reports.markdown import line, shown, text

#: A figure as ``render`` writes it: its number, escaped, and its id.
_FIGURE = re.compile(r"\*\*((?:[^*\\\n]|\\.)*)\*\*\[\^([A-Za-z0-9_.-]+)\]")
_HOW_TO_WRITE = (
    "For people: write between the markers `<!-- people: … -->` and `<!-- /people: … -->`. What stands there is kept "
    "when this file is made anew; everything else is replaced."
)
_LEFT = (
    "People wrote this in places that this report no longer has. It is kept until somebody deletes it here, together "
    "with its markers."
)


def render(report: Report, command: str) -> str:
    """The whole file; ``command`` verifies it."""
    return "\n\n".join([*_head(report, command), *_Body(report).blocks()]) + "\n"


def numbers(markdown: str) -> Iterator[tuple[str, str]]:
    """(id, number as people see it) of every figure in a file without its regions."""
    for found in _FIGURE.finditer(markdown):
        yield found[2], shown(found[1])


def _head(report: Report, command: str) -> Iterator[str]:
    yield f"# {text(report.title)}"
    yield f"Status: {_blank(report.status)}"
    made = "; ".join(f"{text(name)}: {text(value)}" for name, value in report.made_from.items())
    yield f"Made by Drillyard from {made or 'nothing'}. Each number has a footnote that says where it comes from."
    yield "To ask every number again:"
    yield f"    {line(command)}"
    yield _HOW_TO_WRITE


class _Body:
    """Sections, what is no longer asked for, footnotes."""

    def __init__(self, report: Report) -> None:
        self.report = report
        figures = report.figures()
        free = (f"source-{n}" for n in range(1, len(figures) + len(sources.linked(report)) + 1))
        names = (name for name in free if name not in figures)
        self.links = dict(zip(sources.linked(report), names, strict=False))

    def blocks(self) -> Iterator[str]:
        """Each stands alone, with an empty line before the next."""
        for section in self.report.sections:
            yield f"## {text(section.title)}"
            yield from (self._block(block) for block in section.blocks)
        if self.report.people:
            yield "## No longer asked for"
            yield _LEFT
            for id_, written in self.report.people.items():
                yield f"{text(id_)}:"
                yield region(Blank(id_, "", written), "\n")
        footnotes = [
            *(_footnote(id_, figure.source) for id_, figure in self.report.figures().items()),
            *(_footnote(label, source) for source, label in self.links.items()),
        ]
        if footnotes:
            yield "## Sources"
            yield "\n".join(footnotes)

    def _block(self, block: Block) -> str:
        match block:
            case Text(parts):
                return _started(self._parts(parts))
            case Items(items):
                return "\n".join(f"- {_started(self._parts(item.parts))}" for item in items)
            case Table(head, rows):
                lines = [tuple(map(text, head)), ("---",) * len(head)]
                lines += [tuple(self._parts(cell.parts) for cell in row) for row in rows]
                return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
            case Lines(lines):
                return f"<pre>\n{_NEW_LINE.join(map(_verbatim, lines))}\n</pre>"
            case Blank():
                return f"{_asked(block)}\n\n{region(block, _NEW_LINE)}" if not block.text else region(block, _NEW_LINE)

    def _parts(self, parts: Sequence[Inline]) -> str:
        """Neighbouring texts are escaped as one: an address may be split between them."""
        return "".join(
            _spaced("".join(map(str, same))) if textual else "".join(map(self._inline, same))
            for textual, same in groupby(parts, key=lambda part: isinstance(part, str))
        )

    def _inline(self, part: Inline) -> str:
        match part:
            case Figure(id_, value):
                return f"**{text(value)}**[^{id_}]"
            case Blank():
                return _blank(part)
            case Link(source):
                return f"{text(source.place)}[^{self.links[source]}]"
            case str():
                return text(part)


_NEW_LINE = "\n"


def _blank(blank: Blank) -> str:
    """Inside of a line."""
    return region(blank, " ") if blank.text else f"{_asked(blank)} {region(blank, ' ')}"


def _asked(blank: Blank) -> str:
    return f"*to be filled in: {text(blank.asks)}*"


def _footnote(label: str, source: Source | None) -> str:
    if source is None:
        return f"[^{label}]: {sources.sentence(source)}"
    parts = [f"<code>{text(source.place)}</code>: <code>{text(source.question)}</code>"]
    parts += [part for part in (sources.stretch(source), text(source.how)) if part]
    return f"[^{label}]: {'; '.join(parts)}"


def _spaced(value: str) -> str:
    """Escaped, with a space at an end where it has one: a number stands next to it."""
    escaped = text(value)
    if not escaped:
        return " " if value else ""
    before, after = (" " if end.isspace() else "" for end in (value[0], value[-1]))
    return f"{before}{escaped}{after}"


def _started(paragraph: str) -> str:
    """A paragraph that is no list, whatever it begins with."""
    return re.sub(r"^(\d*)([.)+])(?=\s|$)", r"\1\\\2", paragraph.strip(" "))


def _verbatim(value: str) -> str:
    """A line of a log, its spaces as they were. Without stars: none of it is a number of ours."""
    printable = "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in value)
    return html.escape(printable, False).replace("*", "&#42;")
