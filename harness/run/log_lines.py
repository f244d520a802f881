"""The lines of gateways' logs that fall into a stretch of time, for the report of an incident.

A log is a file in the folder that the user names; what kind of gateway wrote it, its lines tell (``stack/gateway``).
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from harness.evidence.history import Logged, Logs, Unread
from harness.model import redact
from harness.model.errors import UsageError
from stack import gateway

#: Of a line so much is kept.
LINE_CHARS = 500


def read(folder: Path, from_s: float, until_s: float) -> Logs:
    """Requests of users in (``from_s``, ``until_s``] (Unix seconds), in order of time, and the records that cannot be
    read, of any time.

    UsageError where the folder has no log with a line that any known gateway writes.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise UsageError(f"LOGS={folder}: expected a folder with gateways' logs, found {error.strerror}") from error
    found, unread = list[Logged](), list[Unread]()
    for path in files:
        requests, lines = _of_file(path)
        found += requests
        if lines:
            unread.append(Unread(redact.printable(path.name), lines))
    if not found:
        kinds = ", ".join(gateway.kinds())
        raise UsageError(f"LOGS={folder}: found no line of an access log of {kinds} in {len(files)} files")
    inside = [one for one in found if from_s < one.at_s <= until_s]
    return Logs(tuple(sorted(inside, key=lambda one: one.at_s)), tuple(unread))


def _of_file(path: Path) -> tuple[list[Logged], int]:
    """Its requests, and how many records are no such, though they look like one: cut, or of something else."""
    kinds = [gateway.kind(name) for name in gateway.kinds()]
    found, unread = list[Logged](), 0
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    one = _line(path.stem, line, kinds)
                except ValueError:
                    unread += 1
                    continue
                if one is not None:
                    found.append(one)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    return found, unread


def _line(name: str, line: bytes, kinds: list[gateway.Kind]) -> Logged | None:
    """A request of a user; None for a line that is no record of one. ValueError for a record that cannot be read."""
    problem: ValueError | None = None
    for kind in kinds:
        try:
            access = kind.access(line)
            if access is not None:
                return _logged(name, line, access)
        except RecursionError:
            problem = ValueError("nested too deeply")
        except ValueError as error:
            problem = error
    if problem is not None:
        raise problem
    return None


def _logged(name: str, line: bytes, access: gateway.Access) -> Logged:
    told = json.loads(line)
    try:
        at_s = float(told["t_ms"]) / 1000
    except (KeyError, TypeError) as error:
        raise ValueError("a request without its time") from error
    if not math.isfinite(at_s):
        raise ValueError("a request at no time")
    text = redact.printable(redact.text(line.decode(errors="replace").strip()))
    return Logged(
        at_s, str(told.get("gateway") or name), str(told.get("request_id") or ""), str(told.get("key_id") or ""),
        access.status, access.failed, text[:LINE_CHARS],
    )  # fmt: skip
