"""The runtime that a command talks to: the one that an instance runs in already, else the one that the user chose."""

from __future__ import annotations

import dataclasses

from harness.model.errors import UsageError
from harness.model.topology import TUNNEL_HOST, Topology
from harness.plan.guard import External, Resolve, address_of, admit
from harness.plan.options import StackOptions, build_topology
from stack import stacks, state
from stack.runtimes.base import Runtime
from stack.runtimes.select import select
from stack.stacks import external
from stack.state import StackState


def chosen(options: StackOptions) -> tuple[Runtime, str]:
    """The runtime for a stack that is to come up, and why that one. UsageError for a target that is not the user's."""
    return select(options.runtime, admitted(options))


def admitted(options: StackOptions, resolve: Resolve = address_of) -> Topology:
    """The topology that may be brought up: with the target that the guard has let through, where there is one."""
    topology = build_topology(options)
    if options.runtime == "external":
        target = admit(options.external, resolve, topology.host(TUNNEL_HOST))
        return dataclasses.replace(
            topology, stack=external.stack(target), runtime="external", engine="external", target=target
        )
    if options.external != External():
        raise UsageError(
            "--target and what belongs to it are for RUNTIME=external: other runtimes drill their own stack"
        )
    return topology


def running(options: StackOptions) -> tuple[Runtime, StackState] | None:
    """The runtime of the stack that this checkout started for the instance, whatever the other options say.

    None when nothing was started.
    """
    found = state.load(state.instance_folder(build_topology(options)))
    if found is None:
        return None
    runtime, _ = select(found.runtime, stacks.restored(found.topology))
    return runtime, found
