"""One run per stack: a lock that names its holder. The kernel drops it when the holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UsageError


@contextmanager
def held(path: Path, holder: str) -> Iterator[None]:
    """Hold ``path`` while the block runs. UsageError naming the holder when somebody else does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder_now = file.read().strip() or "somebody"
            hint = "wait for it, or use another INSTANCE"
            raise UsageError(f"this stack is in use by {holder_now} ({path}): {hint}") from None
        file.truncate(0)
        file.write(f"{holder} (pid {os.getpid()})")
        file.flush()
        yield
