"""Whether the machine stood still: a witness that has nothing to do with the drill it watches.

A drill has to say then that it could not measure. It is made again: only what it says after that is about the harness.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

TICK_S = 0.01
STANDSTILL_S = 0.2  # requests that should have gone out in that time make a run INCONCLUSIVE
TRIES = 3  # of one drill


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


class Watched(Protocol):
    """A drill that has ended beside a witness."""

    @property
    def machine_to_blame(self) -> bool:
        """Whether it rightly says that it could not measure, since the machine stood still."""


D = TypeVar("D", bound=Watched)


def until_measured(drill: Callable[[], D]) -> Iterator[D]:
    """Drills, as each has ended, until the machine is not to blame for how one did; at most ``TRIES``."""
    for _ in range(TRIES):
        ended = drill()
        yield ended
        if not ended.machine_to_blame:
            return
