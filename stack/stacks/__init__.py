"""What can be drilled, as plain data: one module for each stack, with its counts as parameters.

A module has ``STACK``; it is known by its name with dashes. One of the user's own may be any Python file that has it.
"""

from __future__ import annotations

import importlib
import runpy
from dataclasses import replace
from pathlib import Path

from harness.model.errors import UsageError
from harness.model.topology import Component, Stack, Topology
from stack.stacks import external, vllm_haproxy

DEFAULT = "vllm-haproxy"


def names() -> list[str]:
    """The stacks that Drillyard can start, by name."""
    files = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")
    return [name.replace("_", "-") for name in files if hasattr(importlib.import_module(f"{__name__}.{name}"), "STACK")]


def find(name: str) -> Stack:
    """The stack called ``name``, or that of the Python file ``name``. UsageError when there is none."""
    if name.endswith(".py"):
        found = _of_file(name)
    elif name in names():
        found = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").STACK
    else:
        raise UsageError(f"--stack {name}: expected one of {', '.join(names())}, or a Python file with a STACK")
    if not isinstance(found, Stack):
        raise UsageError(f"--stack {name}: found no STACK in it, expected one as in stack/stacks/vllm_haproxy.py")
    if name.endswith(".py"):
        _require_storable(name, found)
    return found


def _require_storable(name: str, stack: Stack) -> None:
    """UsageError for a stack that a plan could hold and nobody could read again: what heals and judges reads it."""
    try:
        Topology.of(Topology(stack).as_data())
    except ValueError as error:
        raise UsageError(f"--stack {name}: {error}") from error


def _of_file(name: str) -> object:
    """What a Python file calls STACK; None when it calls nothing so. UsageError where it cannot be run."""
    try:
        return runpy.run_path(name).get("STACK")
    except Exception as error:  # whatever the file does
        raise UsageError(f"--stack {name}: {type(error).__name__}: {error}") from error


def restored(data: object) -> Topology:
    """The topology that a plan or a state file holds. ValueError, with what is wrong and where, when it holds none.

    Those written before stacks were data had two gateways and two replicas, or were of a target; where gateways have no
    kind they are HAProxy.
    """
    if not isinstance(data, dict) or "stack" in data:
        return _with_kinds(Topology.of(data))
    if "instance" not in data:
        raise ValueError("neither a stack nor an instance is named")
    topology = Topology.of({**data, "stack": vllm_haproxy.stack(gateways=2, replicas=2)})
    return topology if topology.target is None else replace(topology, stack=external.stack(topology.target))


def _with_kinds(topology: Topology) -> Topology:
    def known(one: Component) -> Component:
        return replace(one, kind="haproxy") if one.role == "gateway" and not one.kind else one

    return replace(topology, stack=replace(topology.stack, components=tuple(map(known, topology.components))))
