"""What people wrote in an incident report survives it being made anew.

A region of ``incident.md`` is what stands between its two markers, which hold the blank's id and six hex digits of its
own: a text may therefore hold whatever looks like a marker. Next to the markers stand a line break each, or a space
each inside of a line; all between those is the text, and is kept byte for byte: nothing is normalised. An empty region
is one that nobody has filled in. What cannot be put into its blank is kept under a free id, and is never dropped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import count

from harness.model.incident import Blank, Report

_MARKER = re.compile(r"<!-- (/?)people: ([A-Za-z0-9_.-]+) #([0-9a-f]{6}) -->")


@dataclass(frozen=True)
class _Piece:
    """What a file has from ``begin`` to ``end``, its markers included; ``lost`` names the marker that is missing."""

    id: str
    begin: int
    end: int
    text: str
    lost: str = ""


def region(blank: Blank, frame: str) -> str:
    """The blank's text between its markers. ``frame`` is a line break, or a space inside of a line."""
    for salt in count():
        token = hashlib.sha256(f"{blank.id} {salt}".encode()).hexdigest()[:6]
        end = f"<!-- /people: {blank.id} #{token} -->"
        if end not in blank.text:
            break
    return f"<!-- people: {blank.id} #{token} -->{frame}{blank.text}{frame}{end}"


def keep(report: Report, markdown: str) -> tuple[Report, list[str]]:
    """The report with what people wrote in an earlier ``incident.md``, and a line for each region that is broken."""
    blanks, pieces = report.blanks(), list(_pieces(markdown))
    texts, left, warnings = dict[str, str](), dict(report.people), list[str]()
    for piece in pieces:
        if piece.lost:
            warnings.append(f"region {piece.id} has no {piece.lost} marker: what is left of it is kept at the end")
        if not (piece.text.strip() if piece.lost else piece.text) or texts.get(piece.id) == piece.text:
            continue
        if piece.id in blanks and piece.id not in texts and not piece.lost:
            texts[piece.id] = piece.text
        else:
            left[_free(piece.id, {*blanks, *left})] = piece.text
    warnings += _nested(pieces, blanks)
    return replace(report.filled(texts), people=left), warnings


def outside(markdown: str) -> str:
    """The file without what stands in regions."""
    kept, at = [], 0
    for piece in _pieces(markdown):
        if not piece.lost:
            kept.append(markdown[at : piece.begin])
            at = piece.end
    return "".join((*kept, markdown[at:]))


def _pieces(markdown: str) -> Iterator[_Piece]:
    """Regions in the order of the file, the broken ones, too. One inside of another is text of the outer one."""
    marks = list(_MARKER.finditer(markdown))
    at, done = 0, 0
    while at < len(marks):
        mark = marks[at]
        last = _end(marks, at)
        if mark[1]:
            yield _Piece(mark[2], done, mark.end(), markdown[done : mark.start()], "start")
            done = mark.end()
        elif last is None:
            done = marks[at + 1].start() if at + 1 < len(marks) else len(markdown)
            yield _Piece(mark[2], mark.start(), done, markdown[mark.end() : done], "end")
        else:
            text = _unframed(markdown[mark.end() : marks[last].start()])
            yield _Piece(mark[2], mark.start(), marks[last].end(), text)
            at, done = last, marks[last].end()
        at += 1


def _end(marks: list[re.Match[str]], at: int) -> int | None:
    """The index of the end that belongs to a start: of several in a row the last, since a text may repeat it."""
    found = None
    for index in range(at + 1, len(marks)):
        mark = marks[index]
        if mark[1] and mark.group(2, 3) == marks[at].group(2, 3):
            found = index
        elif not mark[1] and found is not None:
            break
    return found


def _unframed(text: str) -> str:
    for line_break in ("\r\n", "\n"):
        if text.startswith(line_break):
            return text.removeprefix(line_break).removesuffix(line_break)
    return text.removeprefix(" ").removesuffix(" ")


def _free(id_: str, taken: Collection[str]) -> str:
    """The id itself, or one like it that nothing else is called."""
    names = (id_, f"{id_}.kept", *(f"{id_}.kept-{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def _nested(pieces: list[_Piece], blanks: Collection[str]) -> Iterator[str]:
    """A line for each region that now stands inside of another only."""
    found = {piece.id for piece in pieces}
    for piece in pieces:
        inside = {mark[2] for mark in _MARKER.finditer(piece.text) if not mark[1]} - found
        yield from (f"region {one} stands inside of {piece.id}: it is text there" for one in sorted(inside & {*blanks}))
