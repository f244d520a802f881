"""What a probe is: something sampled at a steady pace during a run. One file per probe beside this one.

A probe's ``sample`` returns ``(component, metric, labels, value)`` rows; what it could not measure it leaves out.
The sampler stamps the rows, writes them to metrics.parquet as they come, and records an event when a probe crashes,
once per reason: a gap must be visible, and a run must not end because of one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from harness.record import METRIC_COLUMNS, EventLog


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


class MetricWriter:
    """Streams samples into metrics.parquet; ``close`` makes the file readable."""

    def __init__(self, path: Path, rows_per_group: int = 20_000) -> None:
        self._writer = pq.ParquetWriter(path, METRIC_COLUMNS, compression="zstd", write_page_checksum=True)
        self._rows: list[tuple[float, Row]] = []
        self._rows_per_group = rows_per_group
        self.latest: dict[tuple[str, str, str], float] = {}
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def add(self, t_s: float, rows: Sequence[Row]) -> None:
        """Append rows measured at ``t_s``; remember the latest value of each series, and how many it has had."""
        for row in rows:
            self.counts[row.component, row.metric, row.labels] += 1
            self.latest[row.component, row.metric, row.labels] = row.value
            self._rows.append((t_s, row))
        if len(self._rows) >= self._rows_per_group:
            self._flush()

    def close(self) -> None:
        """Write what is left and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = list(zip(*((t_s, *row) for t_s, row in self._rows), strict=True))
        arrays = [pa.array(column, field.type) for column, field in zip(columns, METRIC_COLUMNS, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=METRIC_COLUMNS))
        self._rows.clear()


async def run_probe(probe: Probe, writer: MetricWriter, log: EventLog) -> None:
    """Sample until cancelled, on a fixed grid; a sample that takes longer than a period skips the missed beats."""
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
        while next_at <= now:
            next_at += probe.period_s
        await asyncio.sleep(next_at - now)
