"""A tiny HTTP server in place of an engine: does on command what engines do when they are well or ill."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Seen:
    """One request as the replica saw it."""

    path: str
    headers: dict[str, str]
    body: bytes
    cancelled: threading.Event = field(default_factory=threading.Event)


class FakeReplica:
    """Listens on ``address:8000``. Set ``mode`` at any time.

    ok: answers, or streams ``events`` events ``gap_s`` apart (after headers that are sent at once, as vLLM does);
    hang: takes the request, sends nothing; drop: closes without an answer; 500, 503, …: answers with that status,
    ``error`` and ``error_type`` (of the content; "" sends no such header).
    ``healthy``: whether /health answers 200. Health checks are not in ``seen``, but counted in
    ``checked``.
    """

    def __init__(self, address: str) -> None:
        self.mode, self.healthy, self.gap_s, self.events = "ok", True, 0.01, 3
        self.error, self.error_type = b'{"error":{"message":"from the engine"}}', "application/json"
        self.answers: dict[str, bytes] = {}  # by path, instead of its usual one
        self.seen: list[Seen] = []
        self.checked = 0
        self._stopping = threading.Event()
        self._server = _Server((address, 8000), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and let go of everybody who waits."""
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def hold(self, connection: socket.socket, seen: Seen, for_s: float) -> bool:
        """Wait ``for_s``; False as soon as the other side has gone."""
        deadline = time.monotonic() + for_s
        while (left := deadline - time.monotonic()) > 0 and not self._stopping.is_set():
            readable, _, _ = select.select([connection], [], [], min(left, 0.05))
            if readable and not _peek(connection):
                seen.cancelled.set()
                return False
        return not self._stopping.is_set()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


def _peek(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return b""


def _handler(replica: FakeReplica) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/health":
                replica.checked += 1
                if replica.mode == "deaf":
                    replica.hold(self.connection, Seen("", {}, b""), 60)
                self.answer(200 if replica.healthy else 503, b"")
                return
            self.serve(b"")

        def do_POST(self) -> None:
            self.serve(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def serve(self, body: bytes) -> None:
            seen = Seen(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            replica.seen.append(seen)
            if replica.mode in ("hang", "deaf"):
                replica.hold(self.connection, seen, 60)
                self.close_connection = True
            elif replica.mode == "drop":
                self.close_connection = True
            elif replica.mode.isdigit():
                self.answer(int(replica.mode), replica.error, replica.error_type)
            elif b'"stream": true' in body:
                self.stream(seen)
            elif replica.hold(self.connection, seen, replica.gap_s):
                self.answer(200, replica.answers.get(self.path, json.dumps({"choices": []}).encode()))

        def answer(self, status: int, body: bytes, content_type: str = "application/json") -> None:
            self.send_response(status)
            if content_type:
                self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def stream(self, seen: Seen) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for n in range(replica.events):
                    if not replica.hold(self.connection, seen, replica.gap_s):
                        self.close_connection = True
                        return
                    event = f"data: {n}\n\n".encode()
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                seen.cancelled.set()
                self.close_connection = True

    return Handler
