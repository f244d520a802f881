"""One set-up at a time in a checkout."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.model.errors import MissingTool
from stack.runtimes.base import Say
from stack.tools import places

#: Longer than any set-up takes on a slow machine.
WAIT_LIMIT_S = 3600.0
POLL_S = 0.5


@contextmanager
def only_one(say: Say, limit_s: float = WAIT_LIMIT_S) -> Iterator[None]:
    """Hold the set-up lock. The kernel drops it when the holder dies, so it can never be stale.

    Raises MissingTool when somebody else has held it for ``limit_s`` seconds.
    """
    places.TOOLS.mkdir(parents=True, exist_ok=True)
    path = places.TOOLS / "lock"
    with path.open("a+") as file:
        deadline, said = time.monotonic() + limit_s, False
        while not _try(file.fileno()):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            if time.monotonic() >= deadline:
                raise MissingTool(
                    f"another set-up (process {holder}) has held {path} for {limit_s:.0f} s. Look at what it does "
                    f"under {places.TOOLS / 'logs'}; end it if it hangs, then run `make setup` again."
                )
            if not said:
                say(f"another set-up (process {holder}) is running in this checkout: waiting for it")
                said = True
            time.sleep(POLL_S)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
