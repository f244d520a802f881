"""What a probe is: something sampled at a steady pace during a run. One file per probe beside this one.

A file says in its ``PROBES`` what it looks at: components by their role, wherever in a stack they are. That is how its
probes are found. What looks at something of the harness' own is started by whoever has that: the load generator's
probe with the load, that of a fault's presence with its injection.

A probe's ``sample`` returns ``(component, metric, labels, value)`` rows; what it could not measure it leaves out.
The sampler stamps the rows, has them written beside the run, and records an event when a probe crashes,
once per reason: a gap must be visible, and a run must not end because of one.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import pkgutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.parquet as pq

from harness.evidence import samples_kept
from harness.evidence.record import METRIC_COLUMNS, METRICS_PART, EventLog, RunFolder, batches, grouped, replacing
from harness.evidence.samples_kept import Taken
from harness.model.topology import Component
from stack.runtimes.base import Runtime

#: A killed harness loses the samples of so long at most.
FLUSH_S = 1.0
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")


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
    """Writes samples while they are taken, in a thread of its own, and metrics.parquet when it is closed.

    A second's samples are one batch of ``METRICS_PART`` beside it. Where probes run nothing is written: they once stood
    still for 2.4 s for it. What a killed harness has written can be read up to the last batch.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(METRICS_PART)
        self._thread = ThreadPoolExecutor(1, "metrics")
        self._pending: list[tuple[float, Sequence[Row]]] = []
        self._stream: pa.ipc.RecordBatchStreamWriter | None = None  # from the first sample on
        self._failed: Exception | None = None  # of the first write that failed; nothing is written after it
        self.latest: dict[tuple[str, str, str], float] = {}
        self.taken: defaultdict[tuple[str, str, str], Taken] = defaultdict(Taken)

    def add(self, t_s: float, rows: Sequence[Row]) -> None:
        """Take rows measured at ``t_s``; remember the latest value of each series, and what was taken of it."""
        for row in rows:
            series, value = row[:3], row[3]
            self.taken[series].add(t_s, value)
            self.latest[series] = value
        if rows:
            self._pending.append((t_s, rows))
        if self._pending and t_s - self._pending[0][0] >= FLUSH_S:
            self._flush()

    @property
    def counts(self) -> Counter[tuple[str, str, str]]:
        """How many samples each series has had."""
        return Counter({series: taken.samples for series, taken in self.taken.items()})

    def close(self) -> None:
        """Write the rest, and all of it as ``samples_kept.FILE`` counts it. RecordError when that cannot be done.

        ``METRICS_PART`` goes when all of it is in the table.
        """
        self._flush()
        finished = self._thread.submit(self._finish)
        self._thread.shutdown()
        finished.result()
        RunFolder(self._path.parent).write_json(samples_kept.FILE, samples_kept.summary_of(self.taken))

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if pending:
            self._thread.submit(self._write, pending)

    # ── in the thread ──

    def _write(self, pending: Sequence[tuple[float, Sequence[Row]]]) -> None:
        if self._failed:
            return
        try:
            rows = [(t_s, *row[:3], float(row[3])) for t_s, taken in pending for row in taken]
            columns = zip(zip(*rows, strict=True), METRIC_COLUMNS.types, strict=True)
            self._opened().write_batch(pa.record_batch([pa.array(*one) for one in columns], schema=METRIC_COLUMNS))
        except Exception as error:  # in a thread nobody sees it: ``close`` raises it
            self._failed = error

    def _opened(self) -> pa.ipc.RecordBatchStreamWriter:
        if self._stream is None:
            self._stream = pa.ipc.new_stream(str(self._part), METRIC_COLUMNS, options=_COMPRESSED)
        return self._stream

    def _finish(self) -> None:
        with replacing(self._path) as temporary:
            if self._failed:
                raise self._failed
            self._opened().close()
            with pq.ParquetWriter(temporary, METRIC_COLUMNS, compression="zstd", write_page_checksum=True) as writer:
                for table in grouped(batches(self._part)):
                    writer.write_table(table)
        self._part.unlink()


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
