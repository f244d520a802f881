"""Which connections are used again, and that none of them hides a server that ends."""

from __future__ import annotations

import inspect
import socket
import threading
import time
from collections.abc import Sequence

import gevent.socket
import httpx
import pytest
import uvicorn

from harness.load.attempt import Attempt
from harness.load.connections import IDLE_S, Connections
from harness.load.exchange import Call, Exchange
from harness.load.job import Service
from harness.load.resolver import Pinned
from tests.unit.load.test_exchange import ARRIVAL, LIMITS, row

ADDRESS = "127.0.16.1"
REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
STREAM = b'data: {"model":"m","choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%s" % (len(STREAM), STREAM)
GONE_S = 30.0


class Server:
    """Of its n-th connection it answers ``answers[n]`` requests; it ends with one more."""

    def __init__(self, answers: Sequence[int]) -> None:
        self._answers = answers
        self.read: list[int] = []  # requests, by connection
        self._open: list[socket.socket] = []
        self._listening = socket.create_server((ADDRESS, 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def stop_listening(self) -> None:
        """From now on connections are refused."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def hang_up_idle(self) -> None:
        """End the connections, as at the end of a keep-alive time or of the server."""
        for connection in self._open:
            connection.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        for answers in self._answers:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(connection)
            self.read.append(0)
            with connection:
                connection.settimeout(GONE_S)
                while connection.recv(65536):
                    self.read[-1] += 1
                    if self.read[-1] > answers:
                        break
                    connection.sendall(ANSWER)
            self._open.remove(connection)


class User:
    """One user of a server."""

    def __init__(self, port: int) -> None:
        self.connections = Connections(Service(name="test", port=port, address=ADDRESS))

    def asks(self) -> Attempt:
        """One attempt, as it is recorded."""
        result = row()
        call = Call(ARRIVAL, REQUEST, LIMITS, None)
        Exchange(call, result, Pinned(ADDRESS), self.connections, result.start_mono_s).run()
        return result


@pytest.mark.parametrize(("idle_s", "reused"), [(0.5 * IDLE_S, True), (1.5 * IDLE_S, False), (4.9, False)])
def test_only_what_was_idle_briefly_is_reused(idle_s: float, reused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may be about to end the others, and its FIN be on the way."""
    connections = Connections(Service(name="test", port=1, address=ADDRESS))
    ours, theirs = gevent.socket.socketpair()
    kept_s = time.monotonic()
    connections.keep("user-001", ADDRESS, ours)
    monkeypatch.setattr(time, "monotonic", lambda: kept_s + idle_s)
    found = connections.reuse("user-001", ADDRESS)
    assert (found is ours, ours.closed) == (reused, not reused)
    ours.close()
    theirs.close()


def test_servers_keep_idle_connections_for_longer() -> None:
    """uvicorn, which vLLM uses, by several seconds; gunicorn's 2 s by one. Real clients reuse for no less."""
    uvicorn_s = inspect.signature(uvicorn.Config).parameters["timeout_keep_alive"].default
    assert uvicorn_s - IDLE_S >= 3
    assert 2 - IDLE_S >= 1
    assert (httpx.Limits().keepalive_expiry or 0) >= IDLE_S


def test_a_server_that_dies_with_a_request_is_not_hidden() -> None:
    """Nothing is sent again below the load's own retries, though a new connection would be answered."""
    server = Server([1, 1])
    user = User(server.port)
    assert user.asks().outcome == "ok"
    broken = user.asks()
    assert (broken.outcome, broken.subtype) == ("connect_error", "eof_before_response")
    assert (broken.connect_ms, server.read) == (None, [2]), "on the connection of before, and on no other"
    again = user.asks()
    assert (again.outcome, again.connect_ms is None, server.read) == ("ok", False, [2, 1])
    user.connections.close()
    server.stop_listening()


def test_a_connection_that_ended_while_idle_is_not_used() -> None:
    """No request was on it, so nothing broke: the next one has a connection of its own."""
    server = Server([9, 9])
    user = User(server.port)
    assert user.asks().outcome == "ok"
    server.hang_up_idle()
    after = user.asks()
    assert (after.outcome, after.connect_ms is None, server.read) == ("ok", False, [1, 1])
    user.connections.close()
    server.stop_listening()


def test_a_server_that_died_while_idle_is_not_hidden() -> None:
    """The connections that it closed are not used, and the one that is refused counts."""
    server = Server([9, 9])
    user = User(server.port)
    assert user.asks().outcome == "ok"
    server.hang_up_idle()
    server.stop_listening()
    after = user.asks()
    assert (after.outcome, after.subtype) == ("connect_error", "refused")
