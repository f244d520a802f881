"""Memory that is free: the allocators keep it, and between what is still used it can be as much again."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

#: So much may be free and kept: asking the system for a page again costs more than all that is done with it.
_ROOM_BYTES = 30_000_000
_after_bytes = 0


def give_back() -> None:
    """Return free memory of this process to the system, as far as its C library can do that (glibc).

    Not before it has grown by ``_ROOM_BYTES`` since the last time.
    """
    global _after_bytes
    if resident_bytes() < _after_bytes + _ROOM_BYTES:
        return
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    _after_bytes = resident_bytes()


def resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
