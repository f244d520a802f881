"""The lines of gateways' logs that fall into a stretch of time, for the report of an incident.

A log is a file in the folder that the user names; what kind of gateway wrote it, its lines tell (``stack/gateway``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from harness.evidence.history import Logged
from harness.model import redact
from harness.model.errors import UsageError
from stack import gateway

#: Of a line so much is kept.
LINE_CHARS = 500


def read(folder: Path, from_s: float, until_s: float) -> tuple[Logged, ...]:
    """Requests of users in (``from_s``, ``until_s``] (Unix seconds), in order of time.

    UsageError where the folder has no log with a line that any known gateway writes.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise UsageError(f"LOGS={folder}: expected a folder with gateways' logs, found {error.strerror}") from error
    found = [one for path in files for one in _of_file(path)]
    if not found:
        kinds = ", ".join(gateway.kinds())
        raise UsageError(f"LOGS={folder}: found no line of an access log of {kinds} in {len(files)} files")
    inside = [one for one in found if from_s < one.at_s <= until_s]
    return tuple(sorted(inside, key=lambda one: one.at_s))


def _of_file(path: Path) -> Iterator[Logged]:
    kinds = [gateway.kind(name) for name in gateway.kinds()]
    try:
        with path.open("rb") as file:
            for line in file:
                one = _line(path.stem, line, kinds)
                if one is not None:
                    yield one
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


def _line(name: str, line: bytes, kinds: list[gateway.Kind]) -> Logged | None:
    """A request of a user; None for any other line. A line that is cut is none: the log's own count has it."""
    for kind in kinds:
        try:
            access = kind.access(line)
            told = json.loads(line) if access is not None else None
        except (ValueError, RecursionError):
            continue
        if access is None or not isinstance(told, dict):
            continue
        try:
            at_s = float(told["t_ms"]) / 1000
        except (KeyError, TypeError, ValueError):
            continue
        text = redact.printable(redact.text(line.decode(errors="replace").strip()))
        return Logged(
            at_s, str(told.get("gateway") or name), str(told.get("request_id") or ""), str(told.get("key_id") or ""),
            access.status, access.failed, text[:LINE_CHARS],
        )  # fmt: skip
    return None
