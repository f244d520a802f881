"""Memory that is free: the allocators keep it, and between what is still used it can be as much again."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import pyarrow as pa


def give_back() -> None:
    """Return free memory of this process to the system, as far as its C library can do that (glibc)."""
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
