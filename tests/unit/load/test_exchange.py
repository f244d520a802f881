"""One attempt on the wire: what cannot be scripted over HTTP, and the parser that is not public."""

from __future__ import annotations

import errno
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import gevent.socket
import pytest
from geventhttpclient.response import HTTPParseError

from harness.evidence.record import RETRYABLE
from harness.load.attempt import Attempt
from harness.load.connections import Connections
from harness.load.exchange import Call, Exchange
from harness.load.job import Service
from harness.load.prompts import Prompt
from harness.load.resolver import NoAddress, Resolution, Resolver
from harness.load.response import Response, read_again
from harness.load.schedule import Arrival
from harness.model.scenario import ClientLimits, Cohort
from harness.model.stream import END_BYTES_MAX
from tests.exhaustion import no_descriptor_left

LIMITS = ClientLimits.model_validate({"connect": "300ms", "first_token": "1s", "idle": "1s", "total": "2s"})


ARRIVAL = Arrival("r", 0.0, Cohort(name="chat"), "user-001", Prompt("hi", None), random.Random(1))


class Fixed(Resolver):
    """Always the same address, or always none."""

    def __init__(self, address: str | None) -> None:
        super().__init__("name.test", ("127.0.16.1", 1))
        self.address, self.distrusted = address, 0

    def resolve(self, rng: random.Random) -> Resolution:
        """As told."""
        if self.address is None:
            raise NoAddress("timeout")
        return Resolution(self.address, None)

    def invalidate(self) -> None:
        """Count."""
        self.distrusted += 1


def row() -> Attempt:
    """A fresh attempt."""
    return Attempt(
        request_id="r", attempt=1, user_id="user-001", cohort="chat", deployment="d", intended_mono_s=0.0,
        start_mono_s=time.monotonic(), max_tokens=8, prompt_chars=3, prompt_hash="h",
    )  # fmt: skip


def attempt(port: int, address: str | None = "127.0.16.1", **service: Any) -> tuple[Attempt, Fixed]:
    """Run one attempt against ``address:port``."""
    resolver, result = Fixed(address), row()
    connections = Connections(Service(name="name.test", port=port, dns=("127.0.16.1", 1), **service))
    call = Call(ARRIVAL, b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", LIMITS, None)
    Exchange(call, result, resolver, connections, result.start_mono_s).run()
    return result, resolver


@pytest.fixture
def listening() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """Starts a server whose connections are handed to a function; gives its port."""
    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(handle: Callable[[socket.socket], None]) -> int:
        server = socket.create_server(("127.0.16.1", 0))
        sockets.append(server)

        def accept() -> None:
            connection, _ = server.accept()
            with connection:
                handle(connection)

        threads.append(threading.Thread(target=accept, daemon=True))
        threads[-1].start()
        port: int = server.getsockname()[1]
        return port

    yield start
    for server in sockets:
        server.close()
    for thread in threads:
        thread.join(timeout=5)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.16.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_refused() -> None:
    """Nobody listens: connect_error, and the DNS answer is not trusted any more."""
    result, resolver = attempt(free_port())
    assert (result.outcome, result.subtype, resolver.distrusted) == ("connect_error", "refused", 1)
    assert (result.ttft_ms, result.headers_ms, result.http_status) == (None, None, None)


def test_no_answer_ends_at_the_connect_limit() -> None:
    """A full backlog swallows SYNs: the connect limit ends the attempt, not the kernel's two minutes."""
    with socket.socket() as server:
        server.bind(("127.0.16.1", 0))
        server.listen(0)
        filler = [socket.socket() for _ in range(4)]
        for sock in filler:
            sock.setblocking(False)
            sock.connect_ex(server.getsockname())
        result, _ = attempt(server.getsockname()[1])
        for sock in filler:
            sock.close()
    assert (result.outcome, result.subtype) == ("connect_error", "no_answer")
    assert result.e2e_ms is not None
    assert 0.95 < result.e2e_ms / 300 < 100


@pytest.mark.parametrize(
    ("number", "subtype"),
    [(errno.EADDRNOTAVAIL, "no_port"), (errno.ENOBUFS, "no_memory"), (errno.ENFILE, "no_descriptor")],
)
def test_what_runs_out_here_is_not_sent(number: int, subtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No port, no memory: the generator's own fault, and no reason to ask DNS again."""

    def connect(self: Connections, address: str, timeout_s: float) -> gevent.socket.socket:
        raise OSError(number, "why")

    monkeypatch.setattr(Connections, "connect", connect)
    result, resolver = attempt(1)
    assert (result.outcome, result.subtype, resolver.distrusted) == ("not_sent", subtype, 0)


def test_no_descriptor_is_not_sent() -> None:
    """The socket itself cannot be made, for the connection or for the question to DNS."""
    with no_descriptor_left():
        result, _ = attempt(1)
        asking, row_of = Resolver("name.test", ("127.0.16.1", 1)), row()
        call = Call(ARRIVAL, b"", LIMITS, None)
        connections = Connections(Service(name="name.test", port=1, dns=("127.0.16.1", 1)))
        Exchange(call, row_of, asking, connections, row_of.start_mono_s).run()
    for found in (result, row_of):
        assert (found.outcome, found.subtype) == ("not_sent", "no_descriptor")


def test_no_address() -> None:
    """No address: dns_error, nothing was connected."""
    result, _ = attempt(1, address=None)
    assert (result.outcome, result.subtype, result.gateway) == ("dns_error", "timeout", None)


def test_tls_error(listening: Callable[[Callable[[socket.socket], None]], int]) -> None:
    """A server that does not speak TLS: tls_error."""
    port = listening(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n"))
    result, _ = attempt(port, tls=True)
    assert result.outcome == "tls_error"
    assert isinstance(ssl.SSLError(), OSError)  # why it is caught before OSError


def test_a_server_that_closes_during_the_handshake(
    listening: Callable[[Callable[[socket.socket], None]], int],
) -> None:
    """Nothing is wrong with TLS: the connection ended before a byte of the response, and clients retry that."""

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)

    result, resolver = attempt(listening(handle), tls=True)
    assert (result.outcome, result.subtype, resolver.distrusted) == ("connect_error", "eof_in_handshake", 1)
    assert result.outcome in RETRYABLE


def test_reset_before_response(listening: Callable[[Callable[[socket.socket], None]], int]) -> None:
    """RST before the first byte is a connect_error that says reset, and DNS is asked again."""

    def handle(connection: socket.socket) -> None:
        connection.recv(100)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    result, resolver = attempt(listening(handle))
    assert (result.outcome, result.subtype, resolver.distrusted) == ("connect_error", "reset_before_response", 1)


def test_eof_in_headers(listening: Callable[[Callable[[socket.socket], None]], int]) -> None:
    """Bytes came, but no whole header: protocol_error."""

    def handle(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-")

    result, _ = attempt(listening(handle))
    assert (result.outcome, result.subtype) == ("protocol_error", "eof_in_headers")


def test_answer_before_the_request_was_read(listening: Callable[[Callable[[socket.socket], None]], int]) -> None:
    """A server that refuses and closes at once is heard, even if sending to it fails."""
    body = b'{"error": {"code": "body_too_large", "message": "key dy-abcdefghijkl", "request_id": "q"}}'
    head = b"HTTP/1.1 413 X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    result, _ = attempt(listening(lambda connection: connection.sendall(head + body)))
    assert (result.outcome, result.error_code, result.error_request_id) == ("http_4xx", "body_too_large", "q")
    assert result.error_message == "key [redacted]"


def test_what_follows_the_answer_is_read_briefly(listening: Callable[[Callable[[socket.socket], None]], int]) -> None:
    """The user has the whole answer; a server that then goes on talking is not listened to, however quick it is."""
    answer = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n'
    sent: list[int] = []

    def flood(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + answer + b"data: [DONE]\n\n")
        with suppress(OSError):
            while True:
                sent.append(connection.send(b":" * 65536))

    result, _ = attempt(listening(flood))
    assert result.outcome == "ok"
    assert sum(sent) < END_BYTES_MAX + 16 * 1024 * 1024, "what sockets on both sides hold, and no more"


def test_parser_contract() -> None:
    """Pins what geventhttpclient's parser does with bytes fed by hand: it is no public interface."""
    response = Response("POST")
    response.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n")
    assert not response.ready
    response.feed(b"\r\n3\r\nabc\r\n2\r\nde")
    assert (response.ready, response.get_code(), response.header("x-a")) == (True, 200, "1")
    assert (response.take(), response.take(), response.message_complete) == (b"abcde", b"", False)
    response.feed(b"\r\n0\r\n\r\n")
    assert (response.message_complete, response.should_close()) == (True, False)
    with pytest.raises(HTTPParseError):
        Response("POST").feed(b"nonsense\r\n\r\n")


FRAMED_TWICE = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\nX-A: 1\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\ncontent-length:3\r\nX-A: 1\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\nX-A: 1\r\n\r\nabc",
)


@pytest.mark.parametrize("answer", FRAMED_TWICE)
def test_framing_that_is_repeated_is_read_once(answer: bytes) -> None:
    """As the RFC allows, at whatever byte a read ends; such a connection is not used again."""
    for size in range(1, len(answer) + 1):
        received, response, invalidated = b"", Response("POST"), None
        for begin in range(0, len(answer), size):
            data = answer[begin : begin + size]
            received += data
            try:
                response.feed(data)
            except HTTPParseError as error:
                response, invalidated = read_again(received, error) or (response, None)
        assert (response.ready, response.take(), invalidated, response.header("x-a")) == (True, b"abc", None, "1")
        assert (response.message_complete, response.should_close()) == (True, True)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 3\r\nContent-Length: 4",
        b"Content-Length: 3, 4",
        b"Content-Length: x",
        b"Transfer-Encoding: chunked\r\nContent Length: 3",
    ],
)
def test_framing_that_contradicts_itself_is_no_http(
    head: bytes, listening: Callable[[Callable[[socket.socket], None]], int]
) -> None:
    """Where the body ends would be a guess."""

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\nabcd")

    result, _ = attempt(listening(answer))
    assert (result.outcome, result.subtype) == ("protocol_error", "bad_http")
