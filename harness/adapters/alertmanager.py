"""An Alertmanager: which alerts it has right now, and who silenced which.

It forgets an alert as soon as it has resolved; a silence it keeps for days after its end (``--data.retention``).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from harness.adapters.json_server import Access, JsonServer, line, shown
from harness.model import redact
from harness.model.alertmanager import Delivered, Matcher, Silence
from harness.model.errors import AdapterError
from stack import bounded

DEADLINE_S = 30.0
#: What it is asked.
ALERTS, SILENCES = "/api/v2/alerts", "/api/v2/silences"
T = TypeVar("T")


class Alertmanager:
    """One Alertmanager. Every question raises UsageError where the user can mend it (401, 404, no API), else
    AdapterError.
    """

    def __init__(self, access: Access, deadline_s: float = DEADLINE_S) -> None:
        where = "before /api/v2, such as http://alertmanager:9093"
        self._server = JsonServer(access, deadline_s, "an Alertmanager", where)
        self.url = access.url

    def close(self) -> None:
        """End the connection."""
        self._server.close()

    def alerts(self) -> tuple[Delivered, ...]:
        """Those that it has not seen resolved, silenced and inhibited ones as well, in order of time."""
        found = self._listed(ALERTS, _delivered)
        return tuple(sorted(found, key=lambda one: one.starts_s))

    def silences(self) -> tuple[Silence, ...]:
        """All that it has not forgotten, those that have expired as well, in order of time."""
        found = self._listed(SILENCES, _silence)
        return tuple(sorted(found, key=lambda one: one.starts_s))

    def _listed(self, path: str, read: Callable[[Any], T]) -> list[T]:
        try:
            answer = self._server.ask(path)
        except bounded.TooMuch as error:
            raise AdapterError(f"{self.url}{path}: {error}") from error
        if answer.status != 200 or not isinstance(answer.said, list):
            raise self._server.no_api(path, answer)
        found = []
        for raw in answer.said:
            try:
                found.append(read(raw))
            except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
                raise AdapterError(
                    f"{self.url}{path} tells what is none: {shown(raw)} ({line(repr(error))})"
                ) from error
        return found


def _delivered(raw: Any) -> Delivered:
    labels = {_text(name): _text(value) for name, value in raw["labels"].items()}
    return Delivered(
        labels, _time(raw["startsAt"]), _time(raw["endsAt"]), tuple(_text(one["name"]) for one in raw["receivers"]),
        _text(raw["status"]["state"]),
    )  # fmt: skip


def _silence(raw: Any) -> Silence:
    matchers = tuple(
        Matcher(_text(one["name"]), _text(one["value"]), bool(one["isRegex"]), bool(one.get("isEqual", True)))
        for one in raw["matchers"]
    )
    return Silence(
        _text(raw["id"]), _text(raw["createdBy"]), _text(raw.get("comment") or ""), _time(raw["startsAt"]),
        _time(raw["endsAt"]), matchers,
    )  # fmt: skip


def _text(value: Any) -> str:
    """Written by whoever may: one line that is not long, without secrets."""
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, found {value!r:.40}")
    return line(redact.text(value))


def _time(value: Any) -> float:
    """Unix seconds of an RFC 3339 time, which has nanoseconds."""
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError(f"a time without a zone: {value!r:.40}")
    return found.timestamp()
