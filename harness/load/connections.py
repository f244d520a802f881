"""Connections: kept alive per user and gateway address, as real clients keep theirs.

Servers end idle connections: gunicorn after 2 s, uvicorn (vLLM), Node, Apache and this stack's gateways after 5 s. A
request that crosses the server's FIN ends without a byte of an answer, and no service is to blame for that. So a
connection is reused only while it has been idle for less; the rest is for the round trip, a fault's delay included.

A request that ends without a byte is not sent again in the same attempt, on a reused connection either. A server that
dies looks the same and may have begun the work: a POST is not idempotent (RFC 9110 §9.2.2). Real clients agree: httpx
reports an error, and the openai package retries after a pause. The load's retries do that, and each is recorded.
"""

from __future__ import annotations

import socket
import time
from collections import defaultdict

import gevent.socket
import gevent.ssl

from harness.load.job import Service

IDLE_S = 1.0  # an idle connection older than this is not reused
PER_USER = 4  # idle connections that one user keeps to one gateway


class Connections:
    """Idle connections of all users of one worker."""

    def __init__(self, service: Service) -> None:
        self._port = service.port
        self._name = service.name
        self._tls = gevent.ssl.create_default_context(cafile=service.ca_file) if service.tls else None
        self._idle: dict[tuple[str, str], list[tuple[gevent.socket.socket, float]]] = defaultdict(list)

    def reuse(self, user_id: str, address: str) -> gevent.socket.socket | None:
        """An idle connection of ``user_id`` that still looks alive, the youngest first; None if there is none."""
        idle = self._idle[user_id, address]
        while idle:
            sock, since_s = idle.pop()
            if time.monotonic() - since_s < IDLE_S and _is_quiet(sock):
                return sock
            sock.close()
        return None

    def connect(self, address: str, timeout_s: float) -> gevent.socket.socket:
        """A new connection. OSError (TimeoutError after ``timeout_s``), ssl.SSLError when TLS fails.

        An OSError may be local resource exhaustion (harness/model/exhausted.py).
        """
        sock = gevent.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_s)
            sock.connect((address, self._port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock if self._tls is None else self._tls.wrap_socket(sock, server_hostname=self._name)
        except BaseException:  # a cancelled user must not leak a socket either
            sock.close()
            raise

    def keep(self, user_id: str, address: str, sock: gevent.socket.socket) -> None:
        """Take back a connection whose answer was read to its end."""
        idle = self._idle[user_id, address]
        if len(idle) < PER_USER:
            idle.append((sock, time.monotonic()))
        else:
            sock.close()

    def retain(self, addresses: frozenset[str]) -> None:
        """DNS changed its mind: close what is idle and leads elsewhere."""
        for key in [key for key in self._idle if key[1] not in addresses]:
            for sock, _ in self._idle.pop(key):
                sock.close()

    def close(self) -> None:
        """Close everything that is idle."""
        self.retain(frozenset())


def _is_quiet(sock: gevent.socket.socket) -> bool:
    """An idle connection has nothing to say: readable means closed by the other side, or dirty."""
    try:
        sock.settimeout(0.0)
        gevent.socket.socket.recv(sock, 1, socket.MSG_PEEK)  # below TLS, which knows no peeking
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
