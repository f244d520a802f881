"""Somebody who listens, says one thing to all who come, and counts them: a server, or a proxy that nobody may use."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Listener:
    """Counts ``connections``; ``heard`` is what came first on each, one after the other."""

    def __init__(self, says: bytes) -> None:
        self._says = says
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.connections, self.heard = 0, b""

    def serve(self) -> None:
        """Until the listening socket is shut down."""
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self.connections += 1
                with connection, suppress(OSError):
                    connection.settimeout(2.0)
                    self.heard += connection.recv(65536)
                    connection.sendall(self._says)

    def close(self) -> None:
        """Wakes ``serve``, which ends."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@contextmanager
def listening(says: bytes) -> Iterator[Listener]:
    """A listener on 127.0.0.1, on a port of its own."""
    listener = Listener(says)
    thread = threading.Thread(target=listener.serve, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.close()
        thread.join(timeout=5)
