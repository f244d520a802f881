"""Watches over code that must neither start anything nor take long."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from harness.model.errors import UsageError
from tests.unit.properties.depth import SEED

#: Far above what the largest file that is read takes.
SECONDS_MAX = 10.0
MESSAGE_MAX = 1500
LOADED, REFUSED = "loaded", "refused in one line"

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


def outcome(load: Callable[[], object], kind: type) -> str:
    """How ``load`` of a damaged file ended: ``LOADED`` as that kind, ``REFUSED``, or what is wrong with it."""
    try:
        with within(SECONDS_MAX), nothing_started():
            found = load()
    except UsageError as error:
        message = str(error)
        if not message.isprintable():
            return f"not one line: {message!r}"
        return REFUSED if len(message) <= MESSAGE_MAX else f"{len(message)} characters: {message[:200]}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {error}"[:300]
    return LOADED if isinstance(found, kind) else f"found {found!r}"


@dataclass(frozen=True)
class Mutants:
    """About ``count`` damaged files in all, as many of each one ``of``: ``content`` makes the one of that number, which
    is written ``at``.
    """

    of: Sequence[Path]
    count: int
    content: Callable[[Path, int], bytes]
    at: Path


def assert_loaded_or_refused(mutants: Mutants, load: Callable[[Path, Path], object], kind: type) -> None:
    """``load(path, mutant)`` of each is that kind, or refused in one line; and neither of both is rare."""
    found, ends = [], Counter[str]()
    for path in mutants.of:
        for number in range(-(-mutants.count // len(mutants.of))):
            content = mutants.content(path, number)
            mutants.at.write_bytes(content)
            ended = outcome(partial(load, path, mutants.at), kind)
            ends[ended] += 1
            if ended not in (LOADED, REFUSED):
                found.append(f"FUZZ_SEED={SEED}, {path.name} number {number}: {ended}\n{content[:3000]!r}")
    print(f"{ends.total()} mutations: {dict(ends)}")
    assert not found, f"{len(found)} of {mutants.count}:\n" + "\n\n".join(found[:20])
    assert min(ends[LOADED], ends[REFUSED]) > 0.05 * ends.total(), f"one-sided mutations: {ends}"
