"""toxiproxy-python with what it lacks: deadlines, status checks, read-back, and one endpoint per adapter.

The package keeps its endpoint in a class attribute, knows no time limit, answers a failed delete with False and uses
``requests``, which reads proxies and passwords from the environment (toxiproxy-python 0.1.1). Here every adapter has a
consumer class of its own, and every call a deadline, a status check and no proxy. All calls block; the engine runs them
with ``asyncio.to_thread``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

import requests
import urllib3
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from harness.model.errors import AdapterError
from stack import bounded


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
        self._consumer: Any = type("Consumer", (APIConsumer,), {"host": host, "port": port})

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

    def addresses(self, proxy: str) -> tuple[str, str]:
        """Where ``proxy`` listens and what it leads to, as toxiproxy writes them."""
        answer = self._call("get", f"/proxies/{proxy}").json()
        return answer["listen"], answer["upstream"]

    def change(self, proxy: str, toxic: str, attributes: dict[str, int]) -> None:
        """Change the attributes of a toxic; harmless when it does not exist. AdapterError if the change did not apply.

        What the toxic holds is forwarded with the new attributes; no connection is closed.
        """
        if toxic not in {t.name for t in self.toxics(proxy)}:
            return
        self._call("post", f"/proxies/{proxy}/toxics/{toxic}", json={"attributes": attributes})
        found = next((t.attributes for t in self.toxics(proxy) if t.name == toxic), attributes)
        if found != {**found, **attributes}:
            raise AdapterError(f"toxiproxy took {attributes} for {toxic!r} of {proxy!r}, but has {found}")

    def remove(self, proxy: str, toxic: str) -> None:
        """Remove a toxic; harmless when it is not there. AdapterError when toxiproxy does not do it in time.

        Removal deadlocks inside toxiproxy 2.12 when a connection has two chunks or more waiting in the toxic and its
        client has gone (#412, #558); every later question about that proxy's toxics hangs as well. ``recreate``
        helps as long as nobody has connected to the proxy since; after that only a restart of toxiproxy does.
        """
        if toxic in {t.name for t in self.toxics(proxy)}:
            self._call("delete", f"/proxies/{proxy}/toxics/{toxic}")
        if toxic in {t.name for t in self.toxics(proxy)}:
            raise AdapterError(f"toxiproxy says that it removed {toxic!r} from {proxy!r}, but still lists it")

    def recreate(self, proxy: str, listen: str, upstream: str) -> None:
        """Drop the proxy with its connections and toxics, and make it again. Never waits for what the toxics hold."""
        self.drop(proxy)
        self._call("post", "/proxies", json={"name": proxy, "listen": listen, "upstream": upstream, "enabled": True})

    def drop(self, proxy: str) -> None:
        """Drop the proxy with its connections and toxics; harmless when it is not there."""
        try:
            self._consumer.delete(f"/proxies/{quote(proxy, safe='')}", **self._settings())
        except NotFound:
            pass
        except requests.RequestException as error:
            raise AdapterError(f"toxiproxy at {self.host}:{self.port} does not drop {proxy!r}: {error}") from error

    def _settings(self) -> dict[str, Any]:
        """Arguments for ``requests``: bounds, no proxy and no password from the environment or .netrc."""
        return {
            "timeout": self.deadline_s,
            "hooks": {"response": partial(_read_bounded, time.monotonic() + self.deadline_s)},
            "proxies": {"no_proxy": self.host},
            "auth": lambda request: request,
        }

    def _call(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        where = f"toxiproxy at {self.host}:{self.port}: {method} {path}"
        try:
            response: requests.Response = getattr(self._consumer, method)(path, **self._settings(), **kwargs)
        except (requests.RequestException, NotFound, ProxyExists, InvalidToxic) as error:
            raise AdapterError(f"{where}: {error}") from error
        if not response.ok:
            raise AdapterError(f"{where} answered {response.status_code}: {response.text[:200]}")
        return response


def _read_bounded(deadline: float, response: requests.Response, **_: Any) -> None:
    """Called before ``requests`` reads the body, which it does without any bound."""
    body = bytearray()
    try:
        while piece := response.raw.read1(65536, decode_content=True):
            body += piece
            if len(body) > bounded.BODY_BYTES_MAX or time.monotonic() > deadline:
                raise requests.RequestException(f"the answer does not end: {len(body)} bytes so far")
    except urllib3.exceptions.HTTPError as error:
        raise requests.RequestException(str(error)) from error
    finally:
        response.close()
    response._content = bytes(body)
