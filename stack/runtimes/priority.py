"""Who goes first on a machine that is too small for all: the load generator, then the harness, then the stack.

Linux shares the processor between *sessions* first (CONFIG_SCHED_AUTOGROUP) and looks at ``nice`` only inside one, so
engines at nice 10 in a session of their own still hold up a generator in another. Measured on two cores beside two busy
replicas: a process that sleeps 5 ms at a time was up to 160 ms late; 24 ms with their session at 5, 9 ms with 10. At 10
the stack starves as soon as anything else runs on the machine.

Containers are in no session; each is a group of its own, and a group's weight is divided among the cores by what of it
runs where. The API server of a replica that wakes where another replica's engine runs has next to no weight there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

#: Niceness of the session that all components of a process stack run in.
STACK = 5
#: Niceness of the load generator's session, where we may raise it: beside containers, which are in no session of ours.
#: All of them together weigh as much as one session of nice 0; so the generator has three times their weight, as it has
#: three times that of a session at STACK.
GENERATOR = -5
#: Niceness of the harness's session beside containers, where we may raise it. Measured on two cores beside two busy
#: replicas in containers: at 0 it waited for a core 30 % of the time, and probes due every 0.2 s paused up to 2.1 s;
#: at −5 for up to 0.2 s, and the generator was not later for it (99 of 100 by 5 ms at most; 17 to 21 ms before).
HARNESS_BESIDE_CONTAINERS = -5


def set_session(pid: int, niceness: int) -> None:
    """Give the session of ``pid`` that niceness, −20 (first) to 19.

    Does nothing where the kernel groups no sessions, or where we lack the right (below 0 needs root): then the check of
    the generator's schedule says whether it mattered.
    """
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))


def of_harness(runtime: str) -> int:
    """Niceness that the harness's session should have during a run on that runtime; 0 is what a session begins with."""
    return HARNESS_BESIDE_CONTAINERS if runtime == "docker" else 0


@contextmanager
def own_session(niceness: int) -> Iterator[None]:
    """Give the session that this process runs in that niceness while the block lasts, then what it had before.

    It is the session of the shell that we were started from: a harness that is killed leaves it ahead of others, until
    the shell ends, which costs nobody anything while the shell waits for a key.
    """
    before = _own_niceness()
    if before is None or before <= niceness:
        yield
        return
    set_session(os.getpid(), niceness)
    try:
        yield
    finally:
        set_session(os.getpid(), before)


def _own_niceness() -> int | None:
    """Niceness of our session; None where the kernel groups no sessions."""
    try:
        return int(Path("/proc/self/autogroup").read_text().split()[-1])  # «/autogroup-12 nice 0»
    except (OSError, IndexError, ValueError):
        return None


def own_cores(replicas: Sequence[str]) -> dict[str, int]:
    """The core that all processes of a replica's container stay on, where cores are few; none where all have room.

    There a replica's API server has to wait for its own engine only, and with half of the weight.
    """
    count = os.cpu_count() or 1
    processes = 2 * len(replicas)  # of each an API server and an engine
    return {} if count > processes else {name: index % count for index, name in enumerate(replicas)}
