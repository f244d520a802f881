"""The alert sink over its routes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from stack.exporter.alerts import KEPT_MAX, Alerts
from stack.exporter.app import BODY_BYTES_MAX, app


class Client:
    """The exporter's web application, without its watchers; each call is one request."""

    def __init__(self) -> None:
        self._transport = httpx.ASGITransport(app(CollectorRegistry(), Alerts()))

    def post(self, path: str, **content: Any) -> httpx.Response:
        """Send."""
        return asyncio.run(self._ask("POST", path, **content))

    def get(self, path: str, **query: Any) -> httpx.Response:
        """Ask."""
        return asyncio.run(self._ask("GET", path, **query))

    async def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=self._transport, base_url="http://exporter") as client:
            return await client.request(method, path, **content)


@pytest.fixture
def client() -> Client:
    """A fresh exporter."""
    return Client()


def notification(*names: str) -> dict[str, object]:
    """What Alertmanager posts for firing alerts of those names."""
    alerts = [
        {
            "status": "firing",
            "labels": {"alertname": name},
            "annotations": {"summary": "…"},
            "startsAt": "2026-01-01T00:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": "f",
        }
        for name in names
    ]
    return {"version": "4", "status": "firing", "receiver": "exporter", "alerts": alerts}


def test_alerts_are_kept_in_order_and_told_since_a_time(client: Client) -> None:
    """A run asks for what came after it began."""
    assert client.post("/alerts", json=notification("ReplicaDown")).status_code == 200
    between = client.get("/alerts").json()["now_s"]
    assert client.post("/alerts", json=notification("GatewayDown", "GatewayFailures")).status_code == 200
    told = client.get("/alerts", params={"since": between}).json()
    assert [alert["labels"]["alertname"] for alert in told["alerts"]] == ["GatewayDown", "GatewayFailures"]
    assert all(between < alert["received_s"] <= time.time() for alert in told["alerts"])
    assert len(client.get("/alerts").json()["alerts"]) == 3


def test_forgotten_alerts_are_owned_up_to(client: Client) -> None:
    """The sink is bounded; an empty answer must not be read as «no alert» when some were dropped."""
    client.post("/alerts", json=notification(*(f"a{i}" for i in range(KEPT_MAX + 5))))
    told = client.get("/alerts").json()
    assert (len(told["alerts"]), told["forgotten"]) == (KEPT_MAX, 5)
    assert told["alerts"][0]["labels"]["alertname"] == "a5"


@pytest.mark.parametrize("body", ["no json", '{"alerts": [{"status": "on fire"}]}'])
def test_notification_of_another_shape_is_refused(client: Client, body: str) -> None:
    """Alertmanager then logs the refusal; nothing half understood is kept."""
    assert client.post("/alerts", content=body).status_code == 400
    assert client.get("/alerts").json()["alerts"] == []


def test_endless_body_and_wrong_time_are_refused(client: Client) -> None:
    """Bounded memory, and an error message instead of all alerts."""
    assert client.post("/alerts", content=b" " * (BODY_BYTES_MAX + 1)).status_code == 413
    assert client.get("/alerts", params={"since": "yesterday"}).status_code == 400
