"""Whether each gateway calls itself ready: what DNS asks it, asked at the same address.

The tightest limit on it: the time in which a gateway that has lost its replicas has to say so, two of its own checks.
Four times a second: between two samples nobody knows whether those who were served meanwhile should have been.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.model.topology import Component
from harness.probes.base import ProbeSet, Row
from harness.probes.page import NoAnswer, Page

#: A gateway that has not answered by then is not ready: DNS would not wait for longer either.
TIMEOUT_S = 1.0


class ReadinessProbe:
    """One gateway."""

    period_s = 0.25

    def __init__(self, gateway: Component) -> None:
        self.name, self._gateway = f"readiness {gateway.name}", gateway.name
        # A connection of its own each time, as a checker's: one that is kept would outlive a gateway that is replaced.
        self._page = Page(gateway.url(path=gateway.readiness_path or "/"), TIMEOUT_S, keep=False)

    async def sample(self) -> Sequence[Row]:
        """``ready`` 1 for the status 200, 0 for any other and for no answer within a second."""
        try:
            ready = (await self._page.get()).status == 200
        except NoAnswer:
            ready = False
        return [Row(self._gateway, "ready", "", float(ready))]


PROBES = ProbeSet(("gateway",), lambda scene, gateways: map(ReadinessProbe, gateways))
