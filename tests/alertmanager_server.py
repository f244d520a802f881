"""An Alertmanager's API over alerts and silences that a test made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.prometheus_server import Instead


@dataclass
class Manager:
    """What it has and how it answers; ``asked`` are the requests' headers and queries, in order."""

    alerts: list[dict[str, Any]] = field(default_factory=list)
    silences: list[dict[str, Any]] = field(default_factory=list)
    instead: Instead | None = None
    asked: list[tuple[dict[str, str], str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, question: dict[str, str]) -> tuple[int, object]:
        """Status and body."""
        pages = {"/api/v2/alerts": self.alerts, "/api/v2/silences": self.silences}
        return (200, pages[path]) if path in pages else (404, {"code": 404, "message": f"path {path} was not found"})


def delivered(labels: Mapping[str, str], starts_s: float, ends_s: float, state: str = "active") -> dict[str, Any]:
    """An alert as Alertmanager tells it."""
    return {
        "labels": dict(labels), "annotations": {}, "startsAt": rfc3339(starts_s), "endsAt": rfc3339(ends_s),
        "updatedAt": rfc3339(starts_s), "fingerprint": "0123456789abcdef", "generatorURL": "",
        "receivers": [{"name": "on-call"}], "status": {"state": state, "silencedBy": [], "inhibitedBy": []},
    }  # fmt: skip


def silence(matchers: list[dict[str, Any]], starts_s: float, **more: object) -> dict[str, Any]:
    """A silence of an hour as Alertmanager tells it."""
    return {
        "id": "aaaa-bbbb", "status": {"state": "active"}, "createdBy": "Ada", "comment": "on it", "matchers": matchers,
        "startsAt": rfc3339(starts_s), "endsAt": rfc3339(starts_s + 3_600), "updatedAt": rfc3339(starts_s), **more,
    }  # fmt: skip


def matching(name: str, value: str, **more: bool) -> dict[str, Any]:
    """One condition of a silence."""
    return {"name": name, "value": value, "isRegex": False, "isEqual": True, **more}


def rfc3339(at_s: float) -> str:
    """With nanoseconds, as Go writes it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "789Z"
