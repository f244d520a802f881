"""A replica of the simulator is told to do something wrong: no fault of a scenario, but taken back like one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.adapters.simulator import Simulator
from harness.faults.base import World
from harness.model.journal import SWITCHES, Undo


def undo(replica: str) -> Undo:
    """What switches ``replica`` back."""
    return Undo(f"{SWITCHES}/{replica}", "simulator_behaviour", {"component": replica}, SWITCHES)


def switch_on(world: World, replica: str, switches: Mapping[str, object]) -> None:
    """Set the replica's switches. AdapterError when it does not take them."""
    Simulator(world.topology.component(replica).url()).behave(switches)


def _simulator_behaviour(world: World, args: Mapping[str, Any]) -> None:
    Simulator(world.topology.component(args["component"]).url()).heal()


UNDO = {"simulator_behaviour": _simulator_behaviour}
