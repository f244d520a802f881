"""All processes of a component are frozen: connections to it are accepted by the kernel and stay silent."""

from __future__ import annotations

from harness.faults.base import FaultContext, to_the_end
from harness.faults.component import ComponentFault
from harness.model.options import NoOptions
from harness.model.topology import Topology
from stack.runtimes.base import Freezes, able


class Pause(ComponentFault[NoOptions]):
    """SIGSTOP, or the container runtime's freezer."""

    type = "pause"
    heals_by = "unpause"
    expected_disruptions = ("gaps",)
    silences = True
    needs = (Freezes,)

    @staticmethod
    def targets(topology: Topology) -> list[str]:
        """All but toxiproxy: frozen, it could take nothing back that other faults have put on links. No target's."""
        if topology.target is not None:
            return []
        return [component.name for component in topology.components if component.role != "toxiproxy"]

    async def inject(self, context: FaultContext) -> None:
        """Freeze it."""
        await to_the_end(able(context.runtime, Freezes).pause, self.on)


FAULT = Pause
