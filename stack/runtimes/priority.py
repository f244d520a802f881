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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

#: Niceness of the session that all components of a process stack run in.
STACK = 5
#: Niceness of the load generator's session, where we may raise it: beside containers, which are in no session of ours.
#: All of them together weigh as much as one session of nice 0; so the generator has three times their weight, as it has
#: three times that of a session at STACK.
GENERATOR = -5


def set_session(pid: int, niceness: int) -> None:
    """Give the session of ``pid`` that niceness, −20 (first) to 19.

    Does nothing where the kernel groups no sessions, or where we lack the right (below 0 needs root): then the check of
    the generator's schedule says whether it mattered.
    """
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))


def own_cores(replicas: Sequence[str]) -> dict[str, int]:
    """The core that all processes of a replica's container stay on, where cores are few; none where all have room.

    There a replica's API server has to wait for its own engine only, and with half of the weight.
    """
    count = os.cpu_count() or 1
    processes = 2 * len(replicas)  # of each an API server and an engine
    return {} if count > processes else {name: index % count for index, name in enumerate(replicas)}
