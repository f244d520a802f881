"""A replica goes deaf: it takes requests and answers its health check, but its engine makes no token any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.adapters.simulator import Simulator
from harness.faults.base import FaultContext, Proof, to_the_end
from harness.faults.component import ComponentFault
from harness.model.options import NoOptions
from harness.model.topology import Topology
from stack.runtimes.base import FreezesEngine, able


class Deaf(ComponentFault[NoOptions]):
    """Only the process of its engine core is stopped; the simulator has a switch for the same.

    The proof has two halves: no token comes, *and* the health check is as good as ever. Without the second it would be
    another, easier fault.
    """

    type = "deaf"
    heals_by = "unpause_engine"
    expected_disruptions = ()
    silences = True
    needs = (FreezesEngine,)

    @staticmethod
    def targets(topology: Topology) -> list[str]:
        """All replicas."""
        return list(topology.replicas)

    async def inject(self, context: FaultContext) -> None:
        """Stop the engine core."""
        await to_the_end(_set_deaf, context, self.on, True)

    async def verify(self, context: FaultContext) -> Proof:
        """No token, and healthy by its own word."""
        during = await self.probe(context)
        if during.works:
            why = f"the fault had no effect: {self.on} still generates"
            return Proof(False, why, self.seen_before(), during.seen)
        if not during.healthy:
            why = f"{self.on} is not deaf but down: its health check does not answer 200 either"
            return Proof(False, why, self.seen_before(), during.seen)
        return Proof(True, f"{self.on} is deaf: healthy, and no token comes", self.seen_before(), during.seen)

    def what_is_left(self, context: FaultContext) -> str:
        """The simulator's switch, where it has one; else what the runtime says: a frozen engine is a frozen process."""
        said = super().what_is_left(context)
        if said or context.topology.engine != "sim":
            return said
        hangs = Simulator(context.topology.component(self.on).url()).behaviour().get("hang")
        return f"the switch «hang» of {self.on} is on" if hangs else ""


def _set_deaf(context: FaultContext, replica: str, deaf: bool) -> None:
    if context.topology.engine == "sim":
        Simulator(context.topology.component(replica).url()).behave({"hang": deaf})
    elif deaf:
        able(context.runtime, FreezesEngine).pause_engine(replica)
    else:
        able(context.runtime, FreezesEngine).unpause_engine(replica)


def _unpause_engine(context: FaultContext, args: Mapping[str, Any]) -> None:
    """Let the replica's engine go on; harmless when it does."""
    _set_deaf(context, args["component"], False)


UNDO = {"unpause_engine": _unpause_engine}
FAULT = Deaf
