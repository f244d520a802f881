"""Whether anybody else uses this machine: processor time that is neither our stack's nor our own."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from harness.model.topology import Topology
from stack import state
from stack.runtimes import family
from stack.stacks.vllm_haproxy import STACK

_OVER_S = 5.0
#: Between two looks at a machine that others use.
_PAUSE_S = 10.0


def cores(instance: int, over_s: float = _OVER_S) -> float:
    """What others use, in cores, over that time: all that is busy, less this process and the stack of the instance.

    A process of ours that ends meanwhile counts among the others.
    """
    before, busy = _ours(instance), _busy_s()
    began = time.monotonic()
    time.sleep(over_s)
    took_s = time.monotonic() - began
    used, after = _busy_s() - busy, _ours(instance)
    own = sum(spent - before.get(who, 0.0) for who, spent in after.items())
    return max(0.0, used - own) / took_s


def wait_until_alone(
    instance: int,
    limit_cores: float,
    within_s: float,
    tell: Callable[[str], object],
    look: Callable[[int], float] = cores,
    pause: Callable[[float], object] = time.sleep,
) -> str:
    """Wait until others use less than that; "" then, else why it was given up after ``within_s``."""
    waited = False
    deadline = time.monotonic() + within_s
    while (found := look(instance)) > limit_cores:
        told = f"others use {found:.2f} cores of this machine (limit {limit_cores:.2f})"
        if time.monotonic() > deadline:
            return f"{told} and have for {within_s:.0f} s: nothing that is run now would count"
        if not waited:
            tell(f"{told}: waiting")
            waited = True
        pause(_PAUSE_S)
    return ""


def _busy_s() -> float:
    """Seconds that all cores together have worked since the start of the machine, or were taken from it."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)


def _ours(instance: int) -> dict[tuple[int, float], float]:
    """Seconds that each process of ours has used, by (pid, start)."""
    found = state.load(state.instance_folder(Topology(STACK, instance=instance)))
    processes = [psutil.Process(), *(family.of_instance(found.instance_id) if found else ())]
    spent = {}
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            spent[process.pid, process.create_time()] = times.user + times.system
    return spent
