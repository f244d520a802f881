"""Memory, CPU and restarts of every component, once a second, from the runtime; and what the observer itself uses.

The latter as ``cpu_s`` of the component ``harness``, by ``source``: this process with all its probes, and the
components that only watch. The watchdog waits for a pipe, and the load generator is the load.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from harness.evidence.observer import COMPONENT, CPU, HARNESS, WATCHERS
from harness.probes.base import ProbeSet, Row
from stack.runtimes.base import Runtime


class ResourceProbe:
    """All components of one stack."""

    name, period_s = "resources", 1.0

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def sample(self) -> Sequence[Row]:
        """What the runtime could measure; what it could not is left out."""
        return await asyncio.to_thread(self._rows)

    def _rows(self) -> list[Row]:
        rows = [Row(COMPONENT, CPU, f"source={HARNESS}", time.process_time())]
        for state, stats in self._runtime.usage():
            measured = {"rss_bytes": stats.rss_bytes, "cpu_s": stats.cpu_s, "oom_kills": stats.oom_kills}
            rows += [Row(state.name, key, "", float(value)) for key, value in measured.items() if value is not None]
            if state.name in WATCHERS and stats.cpu_s is not None:
                rows.append(Row(COMPONENT, CPU, f"source={state.name}", stats.cpu_s))
            rows.append(Row(state.name, "restarts_total", "", float(state.restarts)))
            rows.append(Row(state.name, "running_state", "", float(state.state == "running")))
        return rows


PROBES = ProbeSet((), lambda scene, _: [ResourceProbe(scene.runtime)], external=True)
