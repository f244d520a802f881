"""A Prometheus server's API over samples that a test made: as a server of version 2 answers, limits included."""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol, TypeVar
from urllib.parse import parse_qs, urlsplit

_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{(.*)\}\[(\d+)ms\]")
_MATCHER = re.compile(r'([a-zA-Z_]\w*)(=~|!~|=)"((?:[^"\\]|\\.)*)"')
#: (status, content type, body) instead of an answer.
Instead = tuple[int, str, bytes]


@dataclass
class Recorded:
    """One series: its name, labels, and samples (time in Unix seconds, value)."""

    name: str
    labels: Mapping[str, str]
    samples: Sequence[tuple[float, float]]


@dataclass
class Server:
    """What it has and how it answers; ``asked`` are the requests' headers and queries, in order.

    ``rules`` is None where it has no such page.
    """

    series: list[Recorded] = field(default_factory=list)
    now: Callable[[], float] = lambda: 0.0
    instead: Instead | None = None
    rules: Sequence[str] | None = ()
    samples_max: int = 10_000_000
    asked: list[tuple[dict[str, str], str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, question: dict[str, str]) -> tuple[int, object]:
        """Status and body."""
        if path.endswith("/label/__name__/values"):
            return 200, {"status": "success", "data": sorted({one.name for one in self.series})}
        if question.get("query") == "time()":
            return 200, {"status": "success", "data": {"resultType": "scalar", "result": [self.now(), f"{self.now()}"]}}
        if path.endswith("/rules"):
            if self.rules is None:
                return 404, "404 page not found"
            rules = [{"name": name, "type": "alerting"} for name in self.rules]
            return 200, {"status": "success", "data": {"groups": [{"name": "all", "rules": rules}]}}
        if path.endswith("/buildinfo"):
            return 200, {"status": "success", "data": {"version": "3.5.0", "revision": "abc"}}
        return self._matrix(question)

    def _matrix(self, question: dict[str, str]) -> tuple[int, object]:
        match = _SELECTOR.fullmatch(question["query"])
        if match is None:
            return 400, {"status": "error", "errorType": "bad_data", "error": f"cannot parse {question['query']!r}"}
        end = float(question["time"])
        start = end - int(match[3]) / 1000
        result = []
        for one in self.series:
            if one.name == match[1] and _matches(one.labels, match[2]):
                values = [[at, f"{value}"] for at, value in one.samples if start <= at <= end]
                if values:
                    result.append({"metric": {"__name__": one.name, **one.labels}, "values": values})
        if sum(len(one["values"]) for one in result) > self.samples_max:
            why = "query processing would load too many samples into memory in query execution"
            return 422, {"status": "error", "errorType": "execution", "error": why}
        return 200, {"status": "success", "data": {"resultType": "matrix", "result": result}}


def _matches(labels: Mapping[str, str], matchers: str) -> bool:
    for name, how, value in _MATCHER.findall(matchers):
        has = labels.get(name, "")
        if how == "=" and has != value:
            return False
        if how != "=" and bool(re.fullmatch(value, has)) != (how == "=~"):
            return False
    return True


class Answering(Protocol):
    """Something that answers."""

    asked: list[tuple[dict[str, str], str, dict[str, str]]]
    instead: Instead | None
    url: str

    def answer(self, path: str, question: dict[str, str]) -> tuple[int, object]:
        """Status and body."""


S = TypeVar("S", bound=Answering)


@contextmanager
def serving(server: S, tls: ssl.SSLContext | None = None) -> Iterator[S]:
    """The server on 127.0.0.1, on a port of its own; ``url`` is its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            question = {name: values[0] for name, values in parse_qs(parts.query).items()}
            server.asked.append((dict(self.headers), parts.path, question))
            if server.instead is not None:
                status, kind, body = server.instead
            else:
                status, said = server.answer(parts.path, question)
                kind, body = "application/json", json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        http.socket = tls.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    server.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{http.server_address[1]}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join(timeout=5)
