"""An incident report as data: what its page, its Markdown and its JSON all show, and what can be asked again.

A report is sections of blocks. Whatever is a number stands in a ``Figure``, which carries where it comes from, under an
id that is the same whenever the same question is asked: ``harness incident verify`` asks again and compares by it.
What only people can say stands in a ``Blank``, and what they write there survives a report made anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

NOT_MEASURED = "[not measured]"
#: What a figure or a blank may be called: it stands in footnotes, comments and attributes.
_ID = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Source:
    """Where a number comes from: enough to ask for it by hand.

    ``place`` is a file of the run folder, or the server's name for what was asked there; ``question`` what was asked of
    it (rows, or PromQL), over ``from_s`` to ``until_s`` in Unix seconds where it has a range, and ``how`` what was made
    of the answer.
    """

    place: str
    question: str
    how: str = ""
    from_s: float | None = None
    until_s: float | None = None


@dataclass(frozen=True)
class Figure:
    """A number as it is shown, or ``NOT_MEASURED``. ``id`` has letters, digits, dots and dashes."""

    id: str
    text: str
    source: Source | None = None

    @property
    def measured(self) -> bool:
        """Whether there is a number."""
        return self.text != NOT_MEASURED


@dataclass(frozen=True)
class Blank:
    """What people fill in. ``asks`` is shown while ``text`` is empty. ``id`` is as a figure's."""

    id: str
    asks: str
    text: str = ""


@dataclass(frozen=True)
class Link:
    """A source that is only pointed at: where an entry of the timeline comes from."""

    source: Source


Inline: TypeAlias = "str | Figure | Blank | Link"


@dataclass(frozen=True)
class Text:
    """A paragraph: its pieces stand one after the other, with nothing between them."""

    parts: tuple[Inline, ...]


@dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple[Text, ...]


@dataclass(frozen=True)
class Table:
    """Rows as wide as ``head``; a cell is a paragraph."""

    head: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]


@dataclass(frozen=True)
class Lines:
    """Lines of logs, as they were, without secrets."""

    lines: tuple[str, ...]


Block: TypeAlias = Text | Items | Table | Lines | Blank


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    id: str
    title: str
    blocks: tuple[Block, ...]


#: How far the report is: the one blank that every report has, in its first lines.
STATUS = Blank("status", "draft, in review or final", "draft")


@dataclass(frozen=True)
class Report:
    """A whole report. ``made_from`` says how it is asked for again: the run, or the server with its range.

    ``people`` is what people wrote in blanks that are no longer asked for, by id.
    """

    title: str
    made_from: dict[str, str]
    sections: tuple[Section, ...]
    people: dict[str, str] = field(default_factory=dict)
    status: Blank = STATUS

    def inlines(self) -> Iterator[Inline]:
        """Everything in it, in the order of the page."""
        yield self.status
        for section in self.sections:
            for block in section.blocks:
                yield from _of(block)

    def figures(self) -> dict[str, Figure]:
        """Its figures by id. ValueError where two differ under one id, or where an id is none."""
        found: dict[str, Figure] = {}
        for one in self.inlines():
            if isinstance(one, Figure) and found.setdefault(_named(one), one) != one:
                raise ValueError(f"two figures are called {one.id}: {found[one.id].text} and {one.text}")
        return found

    def blanks(self) -> dict[str, Blank]:
        """What people fill in, by id. ValueError where it is asked for in two places, or where an id is none."""
        found: dict[str, Blank] = {}
        for one in self.inlines():
            if not isinstance(one, Blank):
                continue
            if one.id in found:
                raise ValueError(f"two blanks are called {one.id}")
            found[_named(one)] = one
        return found

    def filled(self, texts: dict[str, str]) -> Report:
        """With these texts in its blanks, by id; a blank without one stays as it is."""
        sections = tuple(
            replace(section, blocks=tuple(_filled(block, texts) for block in section.blocks))
            for section in self.sections
        )
        return replace(self, sections=sections, status=_fill(self.status, texts))


def said(*parts: Inline) -> Text:
    """A paragraph, or a cell."""
    return Text(parts)


def _of(block: Block) -> Iterator[Inline]:
    match block:
        case Text(parts):
            yield from parts
        case Items(items):
            for item in items:
                yield from item.parts
        case Table(_, rows):
            for row in rows:
                for cell in row:
                    yield from cell.parts
        case Blank():
            yield block
        case Lines():
            pass


def _named(one: Figure | Blank) -> str:
    if not _ID.fullmatch(one.id):
        raise ValueError(f"{one.id!r} is no id: it may have letters, digits, dots, dashes and underscores")
    return one.id


def _fill(blank: Blank, texts: dict[str, str]) -> Blank:
    return replace(blank, text=texts.get(blank.id, blank.text))


def _paragraph(text: Text, texts: dict[str, str]) -> Text:
    return Text(tuple(_fill(part, texts) if isinstance(part, Blank) else part for part in text.parts))


def _filled(block: Block, texts: dict[str, str]) -> Block:
    match block:
        case Text():
            return _paragraph(block, texts)
        case Items(items):
            return Items(tuple(_paragraph(item, texts) for item in items))
        case Table(head, rows):
            return Table(head, tuple(tuple(_paragraph(cell, texts) for cell in row) for row in rows))
        case Blank():
            return _fill(block, texts)
        case Lines():
            return block
