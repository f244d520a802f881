"""Watches over code that must neither start anything nor take long."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

#: Audit events of what touches the world: programs and connections. Files that are opened to write are looked at, too.
_FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.kill",
              "pty.spawn",
              "socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "os.remove", "os.mkdir",
              "os.rename")  # fmt: skip
_watched: set[int] = set()  # threads that may not touch the world now


class Touched(BaseException):
    """Something was started, connected to, or written, where nothing may be."""


class TooSlow(BaseException):
    """It used more processor time than it may."""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if threading.get_ident() not in _watched:
        return
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event in _FORBIDDEN:
        raise Touched(f"{event} {arguments!r}")


sys.addaudithook(_hook)


@contextlib.contextmanager
def nothing_started() -> Iterator[None]:
    """Within it this thread starts no program, opens no connection and writes no file; ``Touched`` where it tries."""
    _watched.add(threading.get_ident())
    try:
        yield
    finally:
        _watched.discard(threading.get_ident())


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """``TooSlow`` after so many seconds of processor time; of this process, so that a busy machine is no failure."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"more than {seconds} s of processor time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
