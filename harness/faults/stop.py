"""A component is ended in order and stays down: SIGTERM, SIGKILL after a grace, no restart."""

from __future__ import annotations

from harness.faults.base import FaultContext, to_the_end
from harness.faults.component import ComponentFault
from harness.model.options.stop import Options


class Stop(ComponentFault[Options]):
    """As an operator stops it, or a deployment."""

    type = "stop"
    heals_by = "start"
    silences = True

    async def inject(self, context: FaultContext) -> None:
        """Stop it and see it end."""
        await to_the_end(context.runtime.stop, self.on, self.options.grace)


FAULT = Stop
