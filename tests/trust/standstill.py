"""Whether the machine stood still: a witness that has nothing to do with the drill it watches.

A drill has to say then that it could not measure.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

TICK_S = 0.01
STANDSTILL_S = 0.2  # requests that should have gone out in that time make a run INCONCLUSIVE


@dataclass
class Standstill:
    """``longest_s``: how late a thread that naps for 10 ms was woken, seconds.

    Two busy replicas make it 24 ms late (``stack.runtimes.priority``); tenths of a second mean that nothing ran at all.
    """

    longest_s: float = 0.0


@contextmanager
def witness() -> Iterator[Standstill]:
    """What a thread sees of the machine meanwhile."""
    seen, ended = Standstill(), threading.Event()

    def watch(before: float) -> None:
        over = False
        while not over:
            over = ended.wait(TICK_S)  # the last nap counts too: a standstill can end with the drill
            now = time.monotonic()
            seen.longest_s = max(seen.longest_s, now - before - TICK_S)
            before = now

    watching = threading.Thread(target=watch, args=(time.monotonic(),), daemon=True)
    watching.start()
    try:
        yield seen
    finally:
        ended.set()
        watching.join()
