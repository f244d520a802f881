"""One run per stack: a lock that names its holder. The kernel drops it when the holder dies, however it dies.

A child that inherits the descriptor holds the lock as well: so the watchdog keeps a stack until it has healed it. The
file is emptied when the lock is given back, so a name in the file of a free lock is that of a holder that has died.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.model.errors import UsageError
from stack import state
from stack.runtimes import family

#: In an instance's folder: held by whoever uses its stack.
RUN = "run.lock"
#: Somebody who only looks at the lock holds it for an instant.
_LOOKED_AT_S = 0.3
#: Whoever holds a lock without having written a name into it.
NAMELESS = "somebody who has left no name"


@dataclass(frozen=True)
class Seen:
    """What a lock looks like from outside. A name that does not hold it is that of a holder that has died."""

    name: str
    held: bool


@contextmanager
def held(
    path: Path,
    holder: str,
    say: Callable[[str], object],
    hint: str = "wait for it, or use another INSTANCE",
    what: str = "this stack",
) -> Iterator[int]:
    """Hold ``path`` while the block runs; its file descriptor. ``say`` is told of a dead holder's name in it.

    UsageError naming the holder, since when and as what it was started, with ``hint``, when somebody else holds it.
    """
    state.make_for_user(path.parent)
    with path.open("a+") as file:
        if not _taken(file.fileno()):
            if stopped := [pid for pid in holders(path) if family.is_stopped(pid)]:
                hint = f"process {stopped[0]} is stopped: `kill -CONT {stopped[0]}`"
                hint += ", or `make doctor FIX=1` ends it" if path.name == RUN else ""
            raise UsageError(f"{what} is in use by {who(path)}, {_history(path)} ({path}): {hint}")
        if left := _name(file.fileno()):
            say(f"the lock of {what} is taken over from {left}, which is gone")
        rename(file.fileno(), holder)
        try:
            yield file.fileno()
        finally:
            give_back(file.fileno())


def rename(lock: int, holder: str) -> None:
    """Write down who holds the lock now: ``holder`` in this process."""
    os.ftruncate(lock, 0)
    os.write(lock, _entry(holder).encode())


def give_back(lock: int) -> None:
    """Empty the file, unless another process that holds the lock too has written its name there meanwhile."""
    if _name(lock).endswith(_entry("")):
        os.ftruncate(lock, 0)


def look(path: Path) -> Seen:
    """The lock as it is now, without taking it."""
    try:
        file = path.open()
    except FileNotFoundError:
        return Seen("", held=False)
    with file:
        name = _name(file.fileno())
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Seen(name, held=True)
        return Seen(name, held=False)


def who(path: Path) -> str:
    """Who holds the lock, in words: the name in it, or the process that holds it after the one of that name ended."""
    named, pids = look(path).name, holders(path)
    if not pids or any(named.endswith(_entry("", pid)) for pid in pids):
        return named or NAMELESS
    return f"{_words(pids[0])}, which has outlived {named}" if named else f"{NAMELESS}: {_words(pids[0])}"


def _history(path: Path) -> str:
    """Since when the lock has been held under its name, by the local clock, and what its holder was started as."""
    since = dt.datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    command = next(filter(None, map(_command, holders(path))), "")
    return f"since {since:%Y-%m-%d %H:%M:%S}" + (f", started as `{command}`" if command else "")


def _words(pid: int) -> str:
    return f"process {pid} ({_command(pid)})"


def _command(pid: int) -> str:
    """What a process was started with, without the interpreter and without folders; empty once it has ended."""
    try:
        line = (Path("/proc") / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # it has ended
        line = []
    words = line[line.index("-m") + 1 :] if "-m" in line else line
    return " ".join(Path(word).name for word in words if word)


def holders(path: Path) -> list[int]:
    """Pids of those who hold the lock at this moment, by the kernel's word: whatever name is in the file, or none."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return []
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if any(_holds(folder, number, wanted) for number in os.listdir(folder / "fd")):
                found.append(int(folder.name))
    return sorted(found)


def _holds(process: Path, descriptor: str, wanted: os.stat_result) -> bool:
    with suppress(OSError):  # it is closed meanwhile
        if os.path.samestat((process / "fd" / descriptor).stat(), wanted):
            lines = (process / "fdinfo" / descriptor).read_text().splitlines()
            return any("FLOCK" in line and "WRITE" in line for line in lines if line.startswith("lock:"))
    return False


def _taken(lock: int) -> bool:
    deadline = time.monotonic() + _LOOKED_AT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)


def _name(lock: int) -> str:
    return os.pread(lock, 4096, 0).decode(errors="replace").strip()


def _entry(holder: str, pid: int | None = None) -> str:
    return f"{holder} (pid {pid or os.getpid()})"
