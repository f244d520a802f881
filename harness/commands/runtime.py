"""The runtime that a command talks to: the one that an instance runs in already, else the one that the user chose."""

from __future__ import annotations

from harness.commands.options import StackOptions, build_topology
from stack import state
from stack.runtimes.base import Runtime
from stack.runtimes.select import select
from stack.state import StackState


def chosen(options: StackOptions) -> tuple[Runtime, str]:
    """The runtime for a stack that is to come up, and why that one."""
    return select(options.runtime, build_topology(options))


def running(options: StackOptions) -> tuple[Runtime, StackState] | None:
    """The runtime of the stack that this checkout started for the instance, whatever the other options say.

    None when nothing was started.
    """
    found = state.load(state.instance_folder(build_topology(options)))
    if found is None:
        return None
    runtime, _ = select(found.runtime, state.as_topology(found.topology))
    return runtime, found
