"""Components that do not do their work: paused, or not running although their stack is up."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from harness.recover.leftovers.base import Leftover, Site
from stack.runtimes import family
from stack.runtimes.base import ComponentState, Freezes, able


def find(site: Site) -> Iterator[Leftover]:
    """Each component that does not run; one that is starting is on its way."""
    context = site.context
    if context is None:
        return
    for name, found in site.states.items():
        if found.state in ("stopped", "failed", "missing"):
            what = f"{name} is {found.state}, and its stack is up"
            yield site.leftover("component", what, "it is started", partial(context.runtime.start, name))
        elif frozen := _frozen(found):
            what = f"{name} is paused ({frozen})"
            yield site.leftover("paused", what, "it goes on", partial(able(context.runtime, Freezes).unpause, name))


def _frozen(found: ComponentState) -> str:
    """What of the component is stopped, in words; empty when nothing is. One of its processes is enough."""
    if found.state == "paused":
        return "all of it"
    stopped = family.stopped_in(found.pid)
    return f"process {', '.join(map(str, stopped))}" if stopped else ""
