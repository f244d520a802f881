"""The simulator's switches over HTTP: what a replica is told to do wrong (stack/simulator/behaviour.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from harness.model.errors import AdapterError
from stack import bounded

_PATH = "/simulator/behaviour"


class Simulator:
    """One simulated replica at ``url``; ``deadline_s`` bounds each call."""

    def __init__(self, url: str, deadline_s: float = 2.0) -> None:
        self.url, self.deadline_s = url, deadline_s

    def behaviour(self) -> dict[str, Any]:
        """Every switch with its value now."""
        return self._call("GET")

    def behave(self, switches: Mapping[str, Any]) -> None:
        """Set these switches, leave the others. AdapterError when they do not stand so afterwards."""
        shown = self._call("POST", dict(switches))
        wrong = {name: shown.get(name) for name, value in switches.items() if shown.get(name) != value}
        if wrong:
            raise AdapterError(f"{self.url}{_PATH}: the switches were taken, but stand at {wrong}")

    def heal(self) -> None:
        """Every switch back; harmless when none was on."""
        self._call("DELETE")

    def _call(self, method: str, switches: dict[str, Any] | None = None) -> dict[str, Any]:
        where = f"{method} {self.url}{_PATH}"
        try:
            with httpx.Client(trust_env=False) as client:
                response = bounded.ask(client, method, self.url + _PATH, self.deadline_s, json=switches)
            if response.status_code >= 400:
                raise AdapterError(f"{where} answered {response.status_code}: {response.text[:200]}")
            answer: dict[str, Any] = response.json()
            return answer
        except (httpx.HTTPError, ValueError) as error:
            raise AdapterError(f"{where}: {type(error).__name__}: {error}") from error
