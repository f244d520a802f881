"""A stack whose supervisor is gone, after a reboot for example: nothing keeps it, nothing would restart it."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.errors import UsageError
from harness.recover.leftovers.base import Leftover, Site, cannot
from stack.runtimes import family
from stack.runtimes.select import select
from stack.stacks import restored
from stack.state import StackState


def find(site: Site) -> Iterator[Leftover]:
    """The state of a stack that is not there any more, with what is left of its processes."""
    try:
        stack = site.stack
    except UsageError as error:
        yield site.leftover("stack", str(error), "by hand, as it says", cannot(error))
        return
    if stack is not None and site.supervisor_gone:
        left = len(family.of_instance(stack.instance_id))
        what = (
            f"no supervisor (a reboot, or an earlier version started the stack), and {left} of its processes are left"
        )
        yield site.leftover("stack", what, "they are ended and the state is removed", lambda: _forget(stack))


def _forget(stack: StackState) -> None:
    runtime, _ = select(stack.runtime, restored(stack.topology))
    runtime.down(lambda line: None)
