"""A synthetic generation on each replica: the only sign of life that a deaf replica cannot give."""

from __future__ import annotations

from collections.abc import Sequence

from harness.probes.base import Row
from harness.probes.own_tokens import OwnTokens
from harness.probes.path import synthetic
from stack.topology import Component


class GenerationProbe:
    """One replica, asked directly for one token every two seconds."""

    period_s = 2.0

    def __init__(self, replica: Component, deployment: str, own: OwnTokens, deadline_s: float = 5.0) -> None:
        self.name = f"generation {replica.name}"
        self._replica, self._deployment, self._own, self._deadline_s = replica, deployment, own, deadline_s

    async def sample(self) -> Sequence[Row]:
        """``synthetic_ok`` 0 or 1, and the time to the token when there was one."""
        ttft_ms = await synthetic(self._replica, self._deployment, self._deadline_s, self._own)
        rows = [Row(self._replica.name, "synthetic_ok", "", float(ttft_ms is not None))]
        return rows if ttft_ms is None else [*rows, Row(self._replica.name, "synthetic_ttft_ms", "", ttft_ms)]
