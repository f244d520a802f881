"""How much of a core the load generator uses, once a second: one that needs a whole core sends late and reads late."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psutil

from harness.probes.base import Row


class GeneratorProbe:
    """The generator's process and its workers; a sample is the busiest one's share of a core since the last sample."""

    name, period_s = "load generator", 1.0

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._processes: list[psutil.Process] = []
        self._used: dict[int, float] = {}
        self._at_s = 0.0

    async def sample(self) -> Sequence[Row]:
        """Nothing at first, and when it has ended."""
        now_s, used = time.monotonic(), self._cpu_s()
        shares = [(used[pid] - self._used[pid]) / (now_s - self._at_s) for pid in used.keys() & self._used.keys()]
        self._used, self._at_s = used, now_s
        return [Row("load", "cpu_ratio", "", max(shares))] if shares else []

    def _cpu_s(self) -> dict[int, float]:
        """CPU seconds by process id. Workers are looked for once: they are there before the first window of load."""
        found = {}
        try:
            if not self._processes:
                main = psutil.Process(self._pid)
                self._processes = [main, *main.children(recursive=True)]
            for process in self._processes:
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
        except psutil.NoSuchProcess:
            return found
        return found
