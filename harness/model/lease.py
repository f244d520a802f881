"""Leases: that a process is stopped, hangs or is gone is known to the others within seconds, whatever it was doing.

The holder sends a sign of life every second, from a thread of its own: a busy event loop does not let the lease lapse.
Who grants it counts how long it hears nothing. A lapse is no verdict on the service: it ends the run, healed.

Plain data and sockets only; the load generator, which must not import the engine, uses it, too.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

#: Who is silent for so long has lost its lease.
LEASE_S = 6.0
#: Six signs of life fit into a lease: a machine that is slow for some seconds lets none lapse.
BEAT_S = 1.0
#: Of the time between two looks no more than this is held against the other one: it may be ourselves, or the whole
#: machine, who was stopped meanwhile.
LOOK_S_MAX = 2 * BEAT_S


class Lease:
    """Whether somebody is there: until they were silent for ``LEASE_S``, before their first sign for ``first_s``."""

    def __init__(self, first_s: float = LEASE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._within_s = clock, first_s
        self._lock = threading.Lock()
        self._silent_s, self._looked_s = 0.0, clock()

    def renew(self) -> None:
        """A sign of life came."""
        with self._lock:
            self._silent_s, self._looked_s, self._within_s = 0.0, self._clock(), LEASE_S

    @property
    def lapsed(self) -> bool:
        """Whether it has run out. To be asked regularly, after what has come was taken."""
        with self._lock:
            now_s = self._clock()
            self._silent_s += min(now_s - self._looked_s, LOOK_S_MAX)
            self._looked_s = now_s
            return self._silent_s > self._within_s


class PipeLease(Lease):
    """A lease whose signs of life are bytes in a pipe; its end is the end of the lease."""

    def __init__(self, descriptor: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock=clock)
        self._descriptor, self._ended = descriptor, False
        os.set_blocking(descriptor, False)

    @property
    def lapsed(self) -> bool:
        """Whether it has run out, or the holder is gone."""
        with suppress(BlockingIOError):
            if os.read(self._descriptor, 65536):
                self.renew()
            else:
                self._ended = True
        return self._ended or super().lapsed


class Heart:
    """Calls ``beat`` every ``BEAT_S`` from a thread of its own until ``stop``, or until it raises an OSError."""

    def __init__(self, beat: Callable[[], object]) -> None:
        self._beat, self._over = beat, threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(OSError):
            self._beat()
            while not self._over.wait(BEAT_S):
                self._beat()

    def stop(self) -> None:
        """No sign of life comes after this."""
        self._over.set()
        self._thread.join()


class PipeHeart(Heart):
    """Writes the signs of life of a ``PipeLease``. ``stop`` closes the pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        super().__init__(self._write)

    def _write(self) -> None:
        with suppress(BlockingIOError):  # the other one is stopped, and the pipe is full of signs of life
            os.write(self._descriptor, b".")

    def stop(self) -> None:
        """Idempotent."""
        if not self._over.is_set():
            super().stop()
            os.close(self._descriptor)


class Channel:
    """JSON objects, one per line, in both directions over a stream socket."""

    def __init__(self, end: socket.socket) -> None:
        self._socket, self._rest = end, b""
        self._sending = threading.Lock()
        end.settimeout(BEAT_S)

    def send(self, message: dict[str, Any]) -> None:
        """OSError when the other one is gone, or takes nothing: then nothing can be sent any more."""
        try:
            with self._sending:
                self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.shut()  # a part of the line may be on its way
            raise

    def receive(self) -> dict[str, Any] | None:
        """The next message; None when none comes within ``BEAT_S``. EOFError at the end."""
        while b"\n" not in self._rest:
            try:
                received = self._socket.recv(65536)
            except TimeoutError:
                return None
            except OSError:
                received = b""
            if not received:
                raise EOFError
            self._rest += received
        line, _, self._rest = self._rest.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def shut(self) -> None:
        """End it in both directions; whoever receives sees the end."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it."""
        self.shut()
        self._socket.close()
