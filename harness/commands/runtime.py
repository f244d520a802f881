"""The runtime that a command talks to: the one that an instance runs in already, else the one that the user chose."""

from __future__ import annotations

import dataclasses
from typing import Any

from harness.commands.options import StackOptions, build_topology
from stack import state
from stack.runtimes.base import Runtime
from stack.runtimes.select import select
from stack.state import StackState
from stack.topology import GatewayPolicy, Topology


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
    runtime, _ = select(found.runtime, as_topology(found.topology))
    return runtime, found


def as_topology(data: dict[str, Any]) -> Topology:
    """The topology that ``stack.state.topology_data`` described."""
    plain = {**data, "defects": frozenset(data["defects"]), "gateway_policy": GatewayPolicy(**data["gateway_policy"])}
    known = {field.name for field in dataclasses.fields(Topology)}
    return Topology(**{key: value for key, value in plain.items() if key in known})
