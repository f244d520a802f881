"""toxiproxy-python with what it lacks: deadlines, status checks, read-back, and one endpoint per adapter.

The package keeps its endpoint in a class attribute, knows no time limit and answers a failed delete with False
(toxiproxy-python 0.1.1). Every call here sets the endpoint under a lock, has a deadline, and checks the status.
All calls block; the engine runs them with ``asyncio.to_thread``.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import requests
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from harness.errors import AdapterError

_ENDPOINT_LOCK = threading.Lock()


@dataclass(frozen=True)
class Toxic:
    """One toxic on a proxy. ``attributes`` as toxiproxy names them (latency in ms, rate in KB/s, …)."""

    name: str
    type: str
    stream: str  # downstream: towards the client; upstream: towards the server
    attributes: dict[str, int]


class Toxiproxy:
    """A toxiproxy server's API at ``host:port``; ``deadline_s`` bounds each call."""

    def __init__(self, host: str, port: int, deadline_s: float = 2.0) -> None:
        self.host, self.port, self.deadline_s = host, port, deadline_s

    def proxies(self) -> dict[str, dict[str, Any]]:
        """All proxies by name, as the API tells them (listen, upstream, enabled, toxics)."""
        answer: dict[str, dict[str, Any]] = self._call("get", "/proxies").json()
        return answer

    def toxics(self, proxy: str) -> list[Toxic]:
        """The toxics that are on ``proxy`` now."""
        listed = self._call("get", f"/proxies/{proxy}/toxics").json()
        return [Toxic(t["name"], t["type"], t["stream"], t["attributes"]) for t in listed]

    def add(self, proxy: str, toxic: Toxic) -> None:
        """Add ``toxic`` and read it back. AdapterError when it is not there afterwards."""
        body = {
            "name": toxic.name,
            "type": toxic.type,
            "stream": toxic.stream,
            "toxicity": 1.0,
            "attributes": toxic.attributes,
        }
        self._call("post", f"/proxies/{proxy}/toxics", json=body)
        if toxic.name not in {t.name for t in self.toxics(proxy)}:
            raise AdapterError(f"toxiproxy took the toxic {toxic.name!r} for {proxy!r} but does not list it")

    def remove(self, proxy: str, name: str) -> None:
        """Remove a toxic; harmless when it is not there. A hanging removal recreates the proxy."""
        if name not in {t.name for t in self.toxics(proxy)}:
            return
        try:
            self._call("delete", f"/proxies/{proxy}/toxics/{name}")
        except AdapterError:
            # Removal can hang behind a blocked connection (toxiproxy #412, #558): dropping the proxy ends both.
            self.recreate(proxy)
        if name in {t.name for t in self.toxics(proxy)}:
            self.recreate(proxy)

    def recreate(self, proxy: str) -> None:
        """Delete the proxy and make it again without toxics, same listen and upstream addresses."""
        old = self.proxies().get(proxy)
        if old is None:
            raise AdapterError(f"toxiproxy has no proxy {proxy!r}")
        self._call("delete", f"/proxies/{proxy}")
        fresh = {"name": proxy, "listen": old["listen"], "upstream": old["upstream"], "enabled": True}
        self._call("post", "/proxies", json=fresh)

    def _call(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        with _ENDPOINT_LOCK:
            APIConsumer.host, APIConsumer.port = self.host, self.port
            try:
                response: requests.Response = getattr(APIConsumer, method)(path, timeout=self.deadline_s, **kwargs)
            except (requests.RequestException, NotFound, ProxyExists, InvalidToxic) as error:
                raise AdapterError(f"toxiproxy at {self.host}:{self.port}: {method} {path}: {error}") from error
        if not response.ok:
            raise AdapterError(
                f"toxiproxy at {self.host}:{self.port}: {method} {path} answered {response.status_code}: "
                f"{response.text[:200]}"
            )
        return response
