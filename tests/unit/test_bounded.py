"""No server makes the harness or a component read for ever: neither by what it sends nor by how slowly."""

from __future__ import annotations

import asyncio
import gzip
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from prometheus_client import CollectorRegistry

from harness.adapters.simulator import Simulator
from harness.adapters.toxiproxy import Toxiproxy
from harness.model.errors import AdapterError, StackError
from harness.model.stream import CompletionReader
from harness.model.topology import Component, Endpoint, Target, Topology
from harness.probes import completion, endpoint, question, release
from harness.probes.page import NoAnswer, Page
from stack import bounded
from stack.exporter.readiness import Readiness
from stack.exporter.synthetic import Synthetic
from stack.runtimes import readiness
from stack.stacks.vllm_haproxy import STACK
from tests.listener import listening

CHECKOUT = Path(__file__).resolve().parents[2]
#: The largest limit of any client, and what sockets on both sides may hold beyond it.
READ_BYTES_MAX = 16 * 1024 * 1024 + 8 * 1024 * 1024
GIVEN_UP_WITHIN_S = 20.0
#: Of one client here, one after the other.
REQUESTS_MAX = 6
#: Asks at a port, with a time limit in seconds.
Client = Callable[[int, float], None]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class Endless:
    """A server whose answers have no end: as fast as they are taken, or drop by drop."""

    def __init__(self, drop_s: float) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._drop_s, self._enough = drop_s, threading.Event()
        self.sent = 0

    def serve(self) -> None:
        """Answer whoever connects, each in a thread of its own, until it is closed."""
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        piece = b"[" if self._drop_s else b"[" * 65536
        with connection, suppress(OSError):
            connection.settimeout(5.0)
            connection.recv(65536)
            connection.sendall(HEAD + b"\r\n")
            while not self._enough.wait(self._drop_s):
                self.sent += connection.send(piece)

    def close(self) -> None:
        """Wakes whoever serves."""
        self._enough.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@contextmanager
def endless(drop_s: float) -> Iterator[Endless]:
    """Such a server on 127.0.0.1, on a port of its own."""
    server = Endless(drop_s)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(timeout=5)


def component(port: int) -> Component:
    """A replica at that port."""
    return Component("replica-1", "replica", "127.0.0.1", {"http": port, "api": port}, readiness_path="/health")


def asks_for_a_model(port: int, deadline_s: float) -> None:
    """The first request to an external target."""
    service = Endpoint("http", "127.0.0.1", port, address="127.0.0.1")
    link = SimpleNamespace(listen_address="127.0.0.1", listen_port=port)
    with pytest.raises(StackError, match="gives no answer"):
        endpoint.served_model(
            cast(Topology, SimpleNamespace(link_between=lambda *_: link)), Target(service), deadline_s=deadline_s
        )


@pytest.mark.parametrize("body", [b"[" * 100_000 + b"]" * 100_000, b"9" * 5000, b"\xff", b""])
def test_what_is_no_json_is_a_value_error(body: bytes) -> None:
    """Nested too deeply, with a number that is too large, no text, nothing: one error for all."""
    with pytest.raises(ValueError, match=r"nested too deeply|Exceeds the limit|utf-8|Expecting value"):
        bounded.Answer(200, httpx.Headers(), body).json()


def probes_a_page(port: int, deadline_s: float) -> None:
    """What most probes ask with."""
    with pytest.raises(NoAnswer):
        asyncio.run(Page(f"http://127.0.0.1:{port}/metrics", deadline_s).get())


def asks_for_a_completion(stream: bool) -> Client:
    """What proofs on the data path ask with: the parser of the load generator."""

    def ask(port: int, deadline_s: float) -> None:
        reader = CompletionReader(stream)
        request = {"url": f"http://127.0.0.1:{port}/v1/completions", "json": {}}
        assert asyncio.run(completion.ask(reader, deadline_s, request)) is not None or not reader.answer.generated

    return ask


def asks_a_simulator(port: int, deadline_s: float) -> None:
    """Its switches."""
    with pytest.raises(AdapterError):
        Simulator(f"http://127.0.0.1:{port}", deadline_s).behaviour()


def asks_toxiproxy(port: int, deadline_s: float) -> None:
    """Somebody else may have its port."""
    with pytest.raises(AdapterError):
        Toxiproxy("127.0.0.1", port, deadline_s).proxies()


def generates_synthetically(port: int, deadline_s: float) -> None:
    """The exporter's question, and the page that it then looks at."""

    async def ask() -> None:
        synthetic = Synthetic(CollectorRegistry(), Readiness(2))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=None, trust_env=False) as client:
            await synthetic.ask(client, "replica-1", "m", deadline_s)

    asyncio.run(ask())


def resets_a_cache(port: int, deadline_s: float) -> None:
    """At the end of a run: again and again until the deadline."""
    assert not asyncio.run(release.reset_prefix_cache(component(port), min(deadline_s, 1.0), "token")).success


def waits_for_readiness(port: int, deadline_s: float) -> None:
    """What `make up` asks again and again."""
    with httpx.Client(trust_env=False) as client:
        replica = component(port)
        assert readiness._component_unmet(Topology(STACK), replica, client) is not None
        assert readiness._missing_links(Topology(STACK), client, replica) is not None


#: By what each is about. The test of the sources below finds a client that goes its own way.
CLIENTS: dict[str, Client] = {
    "model of a target": asks_for_a_model,
    "page": probes_a_page,
    "completion": asks_for_a_completion(stream=False),
    "stream": asks_for_a_completion(stream=True),
    "version of a replica": lambda port, deadline_s: no_version(question.version_of(component(port), deadline_s)),
    "simulator": asks_a_simulator,
    "toxiproxy": asks_toxiproxy,
    "exporter": generates_synthetically,
    "release": resets_a_cache,
    "readiness": waits_for_readiness,
}


def no_version(found: str | None) -> None:
    """Nothing was taken for one."""
    assert found is None


@pytest.mark.parametrize(
    ("drop_s", "deadline_s"),
    [(0.0, 5.0), (0.05, 1.0)],  # time for the bytes to be too many; and for some drops of an answer
    ids=["flood", "drops"],
)
@pytest.mark.parametrize("name", CLIENTS)
def test_an_endless_answer_is_given_up_on(name: str, drop_s: float, deadline_s: float) -> None:
    """Bounded in bytes and in time, and then said to be no answer."""
    with endless(drop_s) as server:
        began = time.monotonic()
        CLIENTS[name](server.port, deadline_s)
        assert time.monotonic() - began < GIVEN_UP_WITHIN_S
        assert 0 < server.sent < REQUESTS_MAX * READ_BYTES_MAX


def test_a_whole_answer_is_kept_as_it_came() -> None:
    """Status, headers and body; a compressed body stays what it is."""
    body = gzip.compress(b"x" * 1_000_000)
    head = b"HTTP/1.1 418 Teapot\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    with listening(head + body) as server, httpx.Client(trust_env=False) as client:
        answer = bounded.ask(client, "GET", f"http://127.0.0.1:{server.port}/", 5.0)
    assert (answer.status_code, answer.headers["Content-Encoding"], answer.content) == (418, "gzip", body)
    assert b"accept-encoding: identity" in server.heard.lower()


def test_the_largest_answer_is_read_and_no_larger_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte."""
    monkeypatch.setattr(bounded, "BODY_BYTES_MAX", 100)
    for size in (100, 101):
        said = HEAD + b"Content-Length: %d\r\n\r\n" % size + b"1" * size
        with listening(said) as server, httpx.Client(trust_env=False) as client:
            url = f"http://127.0.0.1:{server.port}/"
            if size == 100:
                assert bounded.ask(client, "GET", url, 5.0).content == b"1" * 100
            else:
                with pytest.raises(bounded.TooMuch):
                    bounded.ask(client, "GET", url, 5.0)


#: A whole answer in one call, whatever its size.
UNBOUNDED = re.compile(
    r"\b(httpx|requests|client|session)\.(get|post|put|delete|request|send)\(|\burlopen\(|\breader\.read\(\)|\.aread\(\)"
)


def test_no_client_reads_without_a_bound() -> None:
    """Whoever asks a server goes through stack/bounded.py, probes/page.py or the load generator's parser."""
    sources = [path for folder in ("harness", "stack") for path in (CHECKOUT / folder).rglob("*.py")]
    found = [f"{path}: {line}" for path in sources for line in path.read_text().splitlines() if UNBOUNDED.search(line)]
    assert found == []
    assert UNBOUNDED.search("        answer = await client.get(url)")
    assert not UNBOUNDED.search("        answer = await bounded.ask_async(client, url)")
