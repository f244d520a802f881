"""How long measuring capacity takes, what comes of it on the simulator, and what disturbed the machine meanwhile."""

from __future__ import annotations

import time
from typing import Any

from harness.plan import runtime
from harness.plan.options import StackOptions
from harness.recover import lock
from harness.run import measuring, pipeline
from harness.run.measuring import Order
from harness.run.progress import Progress
from stack import state


def measure(instance: int) -> dict[str, Any]:
    """One measuring of a warm stack, which stays up. Nothing is kept: a benchmark is no accepted capacity."""
    progress = Progress()
    stack, _ = runtime.chosen(StackOptions(runtime="process", engine="sim", instance=instance))
    with lock.held(state.instance_folder(stack.topology) / lock.RUN, "a benchmark", progress.say) as held:
        stack.up(progress.say)
        began = time.monotonic()
        found = measuring.measure(Order(stack, held, progress, pipeline.marks(stack.topology)))
        seconds = time.monotonic() - began
    return {
        "seconds": round(seconds, 1),
        "all_replicas_per_s": round(found.per_s(without_replica=False), 2),
        "one_fewer_per_s": round(found.per_s(without_replica=True), 2),
        "ends_there_by": None if found.whole is None else found.whole.why,
        "provisional": list(found.provisional),
    }


def broken(figures: dict[str, Any]) -> list[str]:
    """It is quick enough, and both capacities were found; a disturbed machine is said, and breaks nothing."""
    names = ("all_replicas_per_s", "one_fewer_per_s")
    found = [f"{name.removesuffix('_per_s').replace('_', ' ')}: nothing holds" for name in names if not figures[name]]
    if figures["seconds"] > measuring.WITHIN_S:  # a newcomer waits for it before the first drill
        found.append(f"{figures['seconds']} s, {measuring.WITHIN}")
    return found
