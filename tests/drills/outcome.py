"""The one rule about runs that were not judged: each is repeated a bounded number of times.

It never counts as passed, a FAIL is never repeated, and an INCONCLUSIVE for any other reason is an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

CHECKOUT = Path(__file__).resolve().parents[2]
TRIES = 3  # of one drill


class Judged(Protocol):
    """A drill that has ended."""

    @property
    def not_judged(self) -> bool:
        """Whether interference kept it from being judged."""


D = TypeVar("D", bound=Judged)


def until_judged(drill: Callable[[], D], tries: int = TRIES) -> Iterator[D]:
    """Drills, as each has ended, until one was judged; at most ``tries``."""
    for _ in range(tries):
        ended = drill()
        yield ended
        if not ended.not_judged:
            return
