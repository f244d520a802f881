"""Whether an incident report says what its sources say: each number in it, compared with the same one asked again.

Numbers are read as people see them in the file: the bold text before a footnote, the text of a ``data`` element, the
text of a figure in the JSON. What people wrote in their regions is never compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.model.errors import UsageError
from harness.model.incident import Report
from reports.incident import document, markdown, page, people
from reports.markdown import line


@dataclass(frozen=True)
class Difference:
    """A number that differs: what the file shows, and what was asked again. None where there is none of that id."""

    id: str
    shown: str | None
    asked: str | None


def differences(path: Path, asked: Report) -> list[Difference]:
    """All of them in a file that ``write`` made. UsageError where it cannot be read, or is no report."""
    figures = {id_: line(figure.text) for id_, figure in asked.figures().items()}
    shown = list(_numbers(path))
    return [*_changed(shown, figures), *_missing(shown, figures)]


def _numbers(path: Path) -> Iterator[tuple[str, str]]:
    try:
        content = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    match path.suffix:
        case ".md":
            return markdown.numbers(people.outside(content))
        case ".html":
            return page.numbers(content)
        case ".json":
            return ((id_, line(figure.text)) for id_, figure in document.read(content).figures().items())
    raise UsageError(
        f"{path.name} is no incident report: found {path.suffix or 'no suffix'}, expected .md, .html, .json"
    )


def _changed(shown: Iterable[tuple[str, str]], figures: dict[str, str]) -> Iterator[Difference]:
    """Each once, though it may be shown in several places."""
    for id_, number in dict.fromkeys(shown):
        if figures.get(id_) != number:
            yield Difference(id_, number, figures.get(id_))


def _missing(shown: Iterable[tuple[str, str]], figures: dict[str, str]) -> Iterator[Difference]:
    there = {id_ for id_, _ in shown}
    yield from (Difference(id_, None, number) for id_, number in figures.items() if id_ not in there)
