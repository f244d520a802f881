"""Whether a fault is still there: asked of who holds it, once a second from its injection until its heal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from harness.evidence.record import FAULT_PRESENT, of_fault
from harness.probes.base import Row


class PresenceProbe:
    """One fault on ``component``; ``ask`` says whether it is there, or None when that cannot be told."""

    name = "presence"
    period_s = 1.0

    def __init__(self, fault: str, component: str, ask: Callable[[], Awaitable[bool | None]]) -> None:
        self._fault, self._component, self._ask = fault, component, ask

    async def sample(self) -> Sequence[Row]:
        """1 or 0; nothing where it cannot be told."""
        there = await self._ask()
        return [] if there is None else [Row(self._component, FAULT_PRESENT, of_fault(self._fault), float(there))]
