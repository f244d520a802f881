"""Memory, CPU and restarts of every component, once a second, from the runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from harness.probes.base import Row
from stack.runtimes.base import ComponentState, ComponentStats, Runtime


class ResourceProbe:
    """All components of one stack."""

    name, period_s = "resources", 1.0

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def sample(self) -> Sequence[Row]:
        """What the runtime could measure; what it could not is left out."""
        return await asyncio.to_thread(self._rows)

    def _rows(self) -> list[Row]:
        """All at once: Docker's daemon looks at a container once a second, and lets whoever asks wait until then."""
        states = self._runtime.states()
        with ThreadPoolExecutor(len(states)) as threads:
            stats = threads.map(lambda state: self._runtime.stats(state.name), states)
            return [row for state, found in zip(states, stats, strict=True) for row in _rows(state, found)]


def _rows(state: ComponentState, stats: ComponentStats) -> Iterator[Row]:
    measured = {"rss_bytes": stats.rss_bytes, "cpu_s": stats.cpu_s, "oom_kills": stats.oom_kills}
    for key, value in measured.items():
        if value is not None:
            yield Row(state.name, key, "", float(value))
    yield Row(state.name, "restarts_total", "", float(state.restarts))
    yield Row(state.name, "running_state", "", float(state.state == "running"))
