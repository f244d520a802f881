"""An incident report as JSON, for a tracker, and back. Nothing is lost on the way.

``figures`` and ``blanks`` are lists of their own; where they stand in a section is only their id, so each number is
in the file once.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from harness.model.errors import UsageError
from harness.model.incident import (
    Blank,
    Block,
    Figure,
    Inline,
    Items,
    Lines,
    Link,
    Report,
    Section,
    Source,
    Table,
    Text,
)

SCHEMA = 1


def render(report: Report) -> str:
    """The whole file. ValueError where two figures or blanks have one id."""
    document = {
        "schema": SCHEMA,
        "title": report.title,
        "status": report.status.text,
        "made_from": report.made_from,
        "sections": [
            {"id": one.id, "title": one.title, "blocks": [_block(block) for block in one.blocks]}
            for one in report.sections
        ],
        "figures": [dataclasses.asdict(one) for one in report.figures().values()],
        "blanks": [dataclasses.asdict(one) for one in report.blanks().values()],
        "no_longer_asked_for": report.people,
    }
    return json.dumps(document, indent=1) + "\n"


def read(document: str) -> Report:
    """The report that ``render`` made. UsageError where it is none, or of another schema."""
    try:
        raw = json.loads(document)
        if raw["schema"] != SCHEMA:
            raise UsageError(f"an incident report of schema {raw['schema']!r:.40}; this version reads {SCHEMA}")
        return _Reader(raw).report()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"no incident report: {type(error).__name__} {error!s:.100}") from error


def _block(block: Block) -> dict[str, Any]:
    match block:
        case Text(parts):
            return {"type": "text", "parts": _parts(parts)}
        case Items(items):
            return {"type": "items", "items": [_parts(item.parts) for item in items]}
        case Table(head, rows):
            return {"type": "table", "head": head, "rows": [[_parts(cell.parts) for cell in row] for row in rows]}
        case Lines(lines):
            return {"type": "lines", "lines": lines}
        case Blank(id_):
            return {"type": "blank", "blank": id_}


def _parts(parts: Sequence[Inline]) -> list[Any]:
    return [_inline(part) for part in parts]


def _inline(part: Inline) -> Any:
    match part:
        case Figure(id_):
            return {"figure": id_}
        case Blank(id_):
            return {"blank": id_}
        case Link(source):
            return {"source": dataclasses.asdict(source)}
        case str():
            return part


class _Reader:
    """One document, with its figures and blanks by id."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.figures = {one["id"]: Figure(one["id"], one["text"], _source(one["source"])) for one in raw["figures"]}
        self.blanks = {one["id"]: Blank(one["id"], one["asks"], one["text"]) for one in raw["blanks"]}

    def report(self) -> Report:
        """The whole."""
        sections = tuple(
            Section(one["id"], one["title"], tuple(map(self._block, one["blocks"]))) for one in self.raw["sections"]
        )
        people = dict(self.raw["no_longer_asked_for"])
        made_from = {str(name): str(value) for name, value in self.raw["made_from"].items()}
        return Report(self.raw["title"], made_from, sections, people, self.blanks["status"])

    def _block(self, raw: dict[str, Any]) -> Block:
        match raw["type"]:
            case "text":
                return self._text(raw["parts"])
            case "items":
                return Items(tuple(map(self._text, raw["items"])))
            case "table":
                return Table(tuple(raw["head"]), tuple(tuple(map(self._text, row)) for row in raw["rows"]))
            case "lines":
                return Lines(tuple(raw["lines"]))
            case "blank":
                return self.blanks[raw["blank"]]
            case other:
                raise ValueError(f"a block of type {other}")

    def _text(self, parts: list[Any]) -> Text:
        return Text(tuple(map(self._inline, parts)))

    def _inline(self, raw: Any) -> Inline:
        if isinstance(raw, str):
            return raw
        if "figure" in raw:
            return self.figures[raw["figure"]]
        if "blank" in raw:
            return self.blanks[raw["blank"]]
        return Link(Source(**raw["source"]))


def _source(raw: dict[str, Any] | None) -> Source | None:
    return None if raw is None else Source(**raw)
