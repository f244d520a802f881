"""What the components of a run logged about single requests: the lines that name their ids."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.evidence.record import RunFolder
from harness.model import redact

#: Of each component's log so much is searched, from its beginning; of a line so much is kept, of a request so many.
SEARCHED_BYTES = 64 * 1024**2
LINE_CHARS, LINES = 300, 8


@dataclass(frozen=True)
class Line:
    """One line of a component's log. ``t_s`` is in seconds of the run, None where the line has no time that is known.

    ``text`` is cut to ``LINE_CHARS``, and has neither secrets nor control characters.
    """

    component: str
    t_s: float | None
    text: str


def about(folder: RunFolder, ids: Collection[str], components: Collection[str]) -> dict[str, list[Line]]:
    """Of each request id the lines of these components that name it, by time, ``LINES`` at most.

    Lines without a time come last. An id that nothing names is there with no lines; a log that is missing has none.
    """
    found: dict[str, list[Line]] = {one: [] for one in ids if one}
    if found:
        # The longest first: an id that begins like another is not taken for it.
        known = b"|".join(re.escape(one.encode()) for one in sorted(found, key=len, reverse=True))
        pattern, zero_s = re.compile(known), folder.zero_wall_s()
        for component in components:
            for one, text in _naming(folder.path / "logs" / f"{component}.log", pattern):
                found[one].append(Line(component, _time_s(text, zero_s), _readable(text)))
    return {one: sorted(lines, key=_by_time)[:LINES] for one, lines in found.items()}


def _naming(path: Path, pattern: re.Pattern[bytes]) -> Iterator[tuple[str, str]]:
    """(id, line) for each line that has any of the ids."""
    try:
        with path.open("rb") as log:
            text = log.read(SEARCHED_BYTES)
    except OSError:
        return
    end = 0
    for match in pattern.finditer(text):
        if match.start() < end:
            continue  # the same line once more
        begin = text.rfind(b"\n", 0, match.start()) + 1
        end = text.find(b"\n", match.end())
        end = len(text) if end < 0 else end
        yield match[0].decode(errors="replace"), text[begin:end].decode(errors="replace")


def _time_s(text: str, zero_s: float) -> float | None:
    """When a gateway's access log says that the request came, in seconds of the run."""
    try:
        return float(json.loads(text)["t_ms"]) / 1000 - zero_s
    except (ValueError, KeyError, TypeError):
        return None


def _readable(text: str) -> str:
    text = redact.printable(redact.text(text.strip()))
    return text if len(text) <= LINE_CHARS else f"{text[:LINE_CHARS]}…"


def _by_time(line: Line) -> float:
    return float("inf") if line.t_s is None else line.t_s
