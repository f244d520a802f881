"""Waiting for what has to happen some time: only a hang reaches the limit, however busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

WITHIN_S = 60.0


def eventually(condition: Callable[[], Any], limit_s: float = WITHIN_S) -> bool:
    """Whether ``condition`` became true within the limit; asked 50 times a second."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def until(condition: Callable[[], Any], within_s: float = WITHIN_S, what: str = "it did not come to that") -> float:
    """Wait until ``condition()`` is true; the seconds it took. Fails with ``what`` after ``within_s``."""
    begun = time.monotonic()
    assert eventually(condition, within_s), f"{what}: not within {within_s} s"
    return time.monotonic() - begun
