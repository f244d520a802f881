"""A process that has run out of file descriptors, or of room for a file, for as long as a test needs it to."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SPARE = 8  # beyond what is open: they are taken, so that the limit is met wherever there are holes below it


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """While this lasts, every attempt to open a file or a socket ends with EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + SPARE, hard))
    held: list[int] = []
    try:
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """While this lasts, a file cannot grow beyond so many bytes (EFBIG), as on a disk that is full then.

    A kernel ends a process for that; Python has it ignore the signal.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
