"""A replica of the simulator is told to do something wrong: no fault of a scenario, but rolled back like one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.adapters.simulator import Simulator
from harness.faults.base import FaultContext
from harness.model.journal import SWITCHES, Undo


def undo(replica: str) -> Undo:
    """What switches ``replica`` back."""
    return Undo(f"{SWITCHES}/{replica}", "simulator_behaviour", {"component": replica}, SWITCHES)


def switch_on(context: FaultContext, replica: str, switches: Mapping[str, object]) -> None:
    """Set the replica's switches. AdapterError when it does not take them."""
    Simulator(context.topology.component(replica).url()).behave(switches)


def _simulator_behaviour(context: FaultContext, args: Mapping[str, Any]) -> None:
    Simulator(context.topology.component(args["component"]).url()).heal()


UNDO = {"simulator_behaviour": _simulator_behaviour}
