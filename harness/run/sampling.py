"""What is sampled while a stack is under load: a task for each probe, and the samples that they have taken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from harness.evidence.record import EventLog, RunFolder
from harness.judge.drill import Reading
from harness.probes import machine
from harness.probes.base import MetricWriter, Probe, run_probe
from harness.run.tasks import end
from stack.runtimes.base import Runtime

#: Component, metric, labels.
Series = tuple[str, str, str]


class Sampling:
    """The probes of one run folder, from its first sample to metrics.parquet."""

    def __init__(self, folder: RunFolder, log: EventLog) -> None:
        self._writer, self._log = MetricWriter(folder.path / "metrics.parquet"), log
        self._tasks: list[asyncio.Task[None]] = []
        self._written = False

    @property
    def latest(self) -> Mapping[Series, float]:
        """The last value of each series."""
        return self._writer.latest

    def start(self, probes: Iterable[Probe]) -> None:
        """Sample them until ``end``."""
        self._tasks += [asyncio.create_task(self.sample(probe)) for probe in probes]

    def watch_machine(self, runtime: Runtime) -> None:
        """Sample the machine itself until ``end``."""
        self._tasks.append(asyncio.create_task(machine.watch(runtime, self._writer, self._log)))

    async def sample(self, probe: Probe) -> None:
        """Sample one probe until cancelled."""
        await run_probe(probe, self._writer, self._log)

    async def read(self, components: Iterable[str], readings: Iterable[Reading], within_s: float) -> None:
        """Wait until each of the readings was taken of each component since the start, ``within_s`` at most."""
        names, give_up_s = tuple(components), self._log.now_s() + within_s
        for one in readings:
            await self._await({(name, one.metric, one.labels or ""): one.times for name in names}, give_up_s)

    async def read_again(self, readings: Iterable[Reading], within_s: float) -> None:
        """The same from now on, one reading after the other, of whatever was read of each until now."""
        give_up_s = self._log.now_s() + within_s
        for one in readings:
            counts = {s: n for s, n in self._writer.counts.items() if s[1] == one.metric and one.labels in (None, s[2])}
            await self._await({series: count + one.times for series, count in counts.items()}, give_up_s)

    async def _await(self, wanted: Mapping[Series, int], give_up_s: float) -> None:
        while self._log.now_s() <= give_up_s:
            counts = self._writer.counts
            if all(counts[series] >= times for series, times in wanted.items()):
                return
            await asyncio.sleep(0.05)

    async def end(self) -> None:
        """No more samples are taken. StackError when a probe does not end."""
        await end(self._tasks)

    async def close(self) -> None:
        """Write metrics.parquet, once, if anything was sampled. RecordError when it cannot be written."""
        if self._tasks and not self._written:
            self._written = True
            await asyncio.to_thread(self._writer.close)
