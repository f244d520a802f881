"""``python -m tests.disturber``: somebody else on this machine, who computes for as long as we live.

One process in a session of its own, as another user's would be, at nice 0. It ends when its stdin does, which the
kernel closes however its parent ends, and after a time limit in any case.
"""

from __future__ import annotations

import argparse
import math
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
#: Work and rest follow each other so often that a share of a core is one in every second that is sampled.
PERIOD_S = 0.1
_ENDS_WITHIN_S = 5.0


class DisturberDied(Exception):
    """It ended before it was told to: what ran beside it was not disturbed as planned."""


@dataclass(frozen=True)
class Disturber:
    """``share`` of one core during ``on_s`` seconds, then nothing during ``off_s``, again and again."""

    name: str
    share: float
    on_s: float
    off_s: float

    def works(self, after_s: float) -> bool:
        """Whether it works at that time after its start."""
        return math.fmod(after_s, self.on_s + self.off_s) < self.on_s


LIGHT = Disturber("light", 0.25, 1.0, 0.0)
HEAVY = Disturber("heavy", 1.0, 20.0, 20.0)


def work(disturber: Disturber, ended: Callable[[float], bool], limit_s: float) -> None:
    """Disturb until ``ended(wait_s)``, which may wait so long, says so; at most ``limit_s``."""
    began = time.monotonic()
    while (now := time.monotonic()) - began < limit_s:
        share = disturber.share if disturber.works(now - began) else 0.0
        used, period_ends = time.thread_time(), now + PERIOD_S
        while time.thread_time() - used < share * PERIOD_S and time.monotonic() < period_ends:
            pass
        if ended(max(0.0, period_ends - time.monotonic()) if share < 1 else 0.0):  # a whole core has no rest
            return


@contextmanager
def disturbed(disturber: Disturber | None, limit_s: float) -> Iterator[subprocess.Popen[bytes] | None]:
    """The disturber beside the block. DisturberDied when it did not last; without one nothing is done."""
    if disturber is None:
        yield None
        return
    numbers = (disturber.share, disturber.on_s, disturber.off_s, limit_s)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.disturber", *map(str, numbers)],
        cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
        if (code := process.poll()) is not None:
            raise DisturberDied(f"the {disturber.name} disturber ended with {code} before it was told to")
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _stdin_ended(wait_s: float) -> bool:
    readable, _, _ = select.select([sys.stdin.buffer], [], [], wait_s)
    return bool(readable) and not sys.stdin.buffer.read1(1)


def main() -> int:
    """Disturb until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.disturber", description=__doc__)
    parser.add_argument("share", type=float, help="of one core")
    parser.add_argument("on", type=float, help="seconds of work")
    parser.add_argument("off", type=float, help="seconds of rest after them")
    parser.add_argument("limit", type=float, help="seconds after which it ends by itself")
    options = parser.parse_args()
    work(Disturber("told", options.share, options.on, options.off), _stdin_ended, options.limit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
