"""What each gateway thinks: which replicas are up, sessions, retries, redispatches, queue. From its own statistics.

The tightest limits on these series: some seconds from a kill, a hang or a rollout's decision until no gateway uses that
replica any more, made of the gateways' own check intervals.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.adapters.gateway import kind_of
from harness.model.topology import Component
from harness.probes.base import ProbeSet, Row
from harness.probes.page import NoAnswer, Page


class GatewayProbe:
    """One gateway."""

    period_s = 0.25

    def __init__(self, gateway: Component) -> None:
        self.name, self._gateway, self._kind = f"gateway {gateway.name}", gateway.name, kind_of(gateway)
        self._page = Page(gateway.url("metrics", self._kind.statistics_path))

    async def sample(self) -> Sequence[Row]:
        """``up`` = 0 and nothing else when the gateway does not answer within a second."""
        try:
            answer = await self._page.get()
        except NoAnswer:
            return [Row(self._gateway, "up", "", 0.0)]
        if answer.status != 200:
            return [Row(self._gateway, "up", "", 0.0)]
        measured = self._kind.statistics(answer.text)
        return [Row(self._gateway, "up", "", 1.0), *(self._row(*one) for one in measured)]

    def _row(self, metric: str, server: str, value: float) -> Row:
        return Row(self._gateway, metric, f"server={server}" if server else "", value)

    def close(self) -> None:
        """End its connection."""
        self._page.close()


PROBES = ProbeSet(("gateway",), lambda scene, gateways: map(GatewayProbe, gateways))
