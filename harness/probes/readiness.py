"""Whether each gateway calls itself ready: what DNS asks it, asked at the same address."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from harness.probes.base import Row
from stack.topology import Component

#: A gateway that has not answered by then is not ready: DNS would not wait for longer either.
TIMEOUT_S = 1.0


class ReadinessProbe:
    """One gateway."""

    period_s = 0.25

    def __init__(self, gateway: Component) -> None:
        self.name, self._gateway = f"readiness {gateway.name}", gateway.name
        self._url = gateway.url(path=gateway.readiness_path or "/")
        # A connection of its own each time, as a checker's: one that is kept would outlive a gateway that is replaced.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits, verify=False, trust_env=False)

    async def sample(self) -> Sequence[Row]:
        """``ready`` 1 for the status 200, 0 for any other and for no answer within a second."""
        try:
            ready = (await self._client.get(self._url)).status_code == 200
        except httpx.HTTPError:
            ready = False
        return [Row(self._gateway, "ready", "", float(ready))]
