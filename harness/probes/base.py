"""What a probe is: something sampled at a steady pace during a run. One file per probe beside this one.

A file says in its ``PROBES`` what it looks at: components by their role, wherever in a stack they are. That is how its
probes are found. What looks at something of the harness' own is started by whoever has that: the load generator's
probe with the load, that of a fault's presence with its injection.

A probe's ``sample`` returns ``(component, metric, labels, value)`` rows; what it could not measure it leaves out.
The sampler stamps the rows, keeps them for metrics.parquet, and records an event when a probe crashes,
once per reason: a gap must be visible, and a run must not end because of one.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import pkgutil
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.evidence import samples_kept
from harness.evidence.record import METRIC_COLUMNS, EventLog, RunFolder, replacing
from harness.model.topology import Component
from stack.runtimes.base import Runtime


class Row(NamedTuple):
    """One measured value, without its time."""

    component: str
    metric: str
    labels: str
    value: float


class Probe(Protocol):
    """Samples something every ``period_s``."""

    name: str
    period_s: float

    async def sample(self) -> Sequence[Row]:
        """What is measured now. May raise: the sampler records it as a gap."""


@runtime_checkable
class Closes(Protocol):
    """A probe that holds something which has to be given back."""

    def close(self) -> None:
        """Give it back; the probe is not sampled any more."""


@dataclass(frozen=True)
class Scene:
    """What the probes of a run are made from."""

    runtime: Runtime
    #: Records an event of the run: ``record("alert_fired", alert=…)``.
    record: Callable[..., object] = lambda kind, **data: None
    zero_wall_s: float = 0.0  # the run's zero, in seconds since the epoch
    own: Sequence[Probe] = ()  # what counts the run's own requests
    waves: Sequence[Probe] = ()  # what looks at the replicas while it cancels streams in waves


@dataclass(frozen=True)
class ProbeSet:
    """The probes of one file: ``make`` is given the components that have one of the ``roles``; without roles, all.

    Where a stack has no such component, there is no such probe. ``external``: a target that is not ours is sampled as
    well; its stack has neither replicas nor gateways.
    """

    roles: tuple[str, ...]
    make: Callable[[Scene, Sequence[Component]], Iterable[Probe]]
    external: bool = False

    def of(self, scene: Scene) -> list[Probe]:
        """Those for that run."""
        topology = scene.runtime.topology
        seen = [one for one in topology.components if not self.roles or one.role in self.roles]
        wanted = bool(seen) if topology.target is None else self.external
        return list(self.make(scene, seen)) if wanted else []


def probes_of(scene: Scene) -> list[Probe]:
    """All probes for that run: those of every module beside this one that has ``PROBES``."""
    package = importlib.import_module("harness.probes")
    modules = [importlib.import_module(f"harness.probes.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    return [probe for module in modules if hasattr(module, "PROBES") for probe in module.PROBES.of(scene)]


class MetricWriter:
    """Keeps samples, 20 bytes each, and writes metrics.parquet when it is closed.

    Not before: that happened where the probes run, every 20,000 samples, and once they stood still for 2.4 s.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers: dict[tuple[str, str, str], int] = {}  # of the series, in the order of their first samples
        self._times, self._series, self._values = array("d"), array("i"), array("d")
        self.latest: dict[tuple[str, str, str], float] = {}
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def add(self, t_s: float, rows: Sequence[Row]) -> None:
        """Append rows measured at ``t_s``; remember the latest value of each series, and how many it has had."""
        self._times.extend([t_s] * len(rows))
        for row in rows:
            series, value = row[:3], row[3]
            self.counts[series] += 1
            self.latest[series] = value
            self._series.append(self._numbers.setdefault(series, len(self._numbers)))
            self._values.append(value)

    def close(self) -> None:
        """Write them all, and what they are in ``samples_kept.FILE``. RecordError when they cannot be written."""
        series = pa.array(np.asarray(self._series))
        names = (pa.array([name[part] for name in self._numbers], pa.string()) for part in range(3))
        times, values = pa.array(np.asarray(self._times)), pa.array(np.asarray(self._values))
        table = pa.Table.from_arrays([times, *(name.take(series) for name in names), values], schema=METRIC_COLUMNS)
        with replacing(self._path) as temporary:
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
        RunFolder(self._path.parent).write_json(samples_kept.FILE, samples_kept.summary(table.to_pandas()))


async def run_probe(probe: Probe, writer: MetricWriter, log: EventLog) -> None:
    """Sample until cancelled, on a fixed grid; a sample that takes longer than a period skips the missed beats."""
    try:
        await _sample_on_grid(probe, writer, log)
    finally:
        if isinstance(probe, Closes):
            probe.close()


async def _sample_on_grid(probe: Probe, writer: MetricWriter, log: EventLog) -> None:
    loop = asyncio.get_running_loop()
    next_at = loop.time()
    reported: set[str] = set()
    while True:
        try:
            rows = await probe.sample()
            writer.add(log.now_s(), rows)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            if why not in reported:
                reported.add(why)
                log.add("probe_error", probe=probe.name, why=why)
        next_at += probe.period_s
        now = loop.time()
        if next_at <= now:
            next_at += probe.period_s * (math.floor((now - next_at) / probe.period_s) + 1)
        await asyncio.sleep(next_at - now)
