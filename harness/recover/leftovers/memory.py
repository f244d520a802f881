"""Memory limits that a run has put on components."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from harness.recover.leftovers.base import Leftover, Site
from stack.runtimes.base import LimitsMemory, able


def find(site: Site) -> Iterator[Leftover]:
    """Components whose memory is limited although their runtime starts them without a limit.

    Containers have a limit from the start, so there only the journal of a run can tell what it was before.
    """
    context = site.context
    if context is None or context.runtime.name != "process":
        return
    runtime = able(context.runtime, LimitsMemory)
    for name in site.states:
        if (limit := runtime.memory_limit(name)) is not None:
            what = f"the memory of {name} is limited to {limit / 2**20:.0f} MiB"
            yield site.leftover("memory", what, "the limit is lifted", partial(runtime.limit_memory, name, None))
