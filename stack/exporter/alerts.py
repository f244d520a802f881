"""The alert sink: what Alertmanager notified, kept for the run that asks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel

KEPT_MAX = 1000


class Alert(BaseModel):
    """One alert of Alertmanager's webhook, version 4; what else it carries is not kept."""

    status: Literal["firing", "resolved"]
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = {}
    startsAt: str
    endsAt: str


class Notification(BaseModel):
    """The body that Alertmanager posts."""

    alerts: list[Alert]


class Alerts:
    """The last ``KEPT_MAX`` alerts with the wall time at which each was received, oldest first."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, Alert]] = deque(maxlen=KEPT_MAX)
        self._received = 0

    def add(self, notification: Notification) -> None:
        """Keep what came in."""
        now = time.time()
        self._kept.extend((now, alert) for alert in notification.alerts)
        self._received += len(notification.alerts)

    def since(self, wall_s: float) -> dict[str, Any]:
        """What was received after ``wall_s`` (seconds since the epoch), and how many were forgotten altogether."""
        alerts = [{"received_s": t, **alert.model_dump()} for t, alert in self._kept if t > wall_s]
        return {"now_s": time.time(), "forgotten": self._received - len(self._kept), "alerts": alerts}
