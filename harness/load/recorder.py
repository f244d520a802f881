"""The recorder: attempts to disk as they end, one Parquet file when the load is over.

While the load runs each process appends small Arrow record batches to ``requests-N.arrows`` in the run folder: cheap,
never more than ``BATCH_ROWS`` rows or ``FLUSH_S`` seconds in memory, and readable up to the last batch even if the
process is killed. ``merge`` streams those files into requests.parquet, a row group at a time.

A write that fails (disk full, file too large) is kept in ``failed``, not raised: rows are added at the end of requests,
where nothing may raise. Rows that cannot be written are counted.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.evidence.record import REQUEST_COLUMNS, batches, grouped, not_written, replacing
from harness.load.attempt import Attempt
from harness.model.errors import RecordError

BATCH_ROWS = 256
FLUSH_S = 1.0

_GETTERS = [attrgetter(name) for name in REQUEST_COLUMNS.names]


class Recorder:
    """Appends attempts to ``folder/requests-<worker>.arrows``. Not flushed by itself: call ``flush`` now and then."""

    def __init__(self, folder: Path, worker: int) -> None:
        self._path = folder / f"requests-{worker}.arrows"
        self.failed: RecordError | None = None  # the first write that failed; nothing is written after it
        self.unwritten: list[bool] = []  # per attempt that could not be written: whether it was final
        self._file = pa.OSFile(str(self._path), "wb")
        self._writer = pa.ipc.new_stream(self._file, REQUEST_COLUMNS)
        self._rows: list[Attempt] = []
        _batch([])  # its lazy imports happen now: later there may be no file descriptor for them

    def add(self, row: Attempt) -> None:
        """Record a finished attempt, which is ``timed``."""
        self._rows.append(row)
        if len(self._rows) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered."""
        rows, self._rows = self._rows, []
        written = not rows
        try:
            if rows and self.failed is None:
                self._writer.write_batch(_batch(rows))
                written = True
        except OSError as error:
            self.failed = not_written(self._path, error)
        finally:
            if not written:
                self.unwritten += [row.final for row in rows]

    def close(self) -> None:
        """Write the rest and close the file."""
        self.flush()
        try:
            if self.failed is None:  # else it would look complete
                self._writer.close()
            self._file.close()
        except OSError as error:  # all rows are written: only the end marker is missing, which readers do not need
            self.failed = self.failed or not_written(self._path, error)


def _batch(rows: list[Attempt]) -> pa.RecordBatch:
    columns = [
        _column([get(row) for row in rows], field.type) for get, field in zip(_GETTERS, REQUEST_COLUMNS, strict=True)
    ]
    return pa.record_batch(columns, schema=REQUEST_COLUMNS)


def _column(values: list[Any], type: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, type=type)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON of a server can hold and UTF-8 cannot
        return pa.array([v if v is None else v.encode("utf-8", "replace").decode() for v in values], type=type)


@dataclass
class Counts:
    """What the recorded rows say, counted while they were merged."""

    attempts: int = 0
    outcomes_final: Counter[str] = field(default_factory=Counter)
    outcomes_attempts: Counter[str] = field(default_factory=Counter)
    lags_ms: list[np.ndarray] = field(default_factory=list)

    def take(self, batch: pa.RecordBatch) -> None:
        """Count one more batch."""
        self.attempts += batch.num_rows
        outcomes = batch.column("outcome")
        _count(self.outcomes_attempts, outcomes)
        _count(self.outcomes_final, outcomes.filter(batch.column("final")))
        self.lags_ms.append(batch.column("schedule_lag_ms").drop_null().to_numpy(zero_copy_only=False))

    def lag_p99_ms(self) -> float | None:
        """p99 of the schedule lag over all first attempts; None when there was none."""
        lags = np.concatenate(self.lags_ms) if self.lags_ms else np.empty(0)
        return float(np.quantile(lags, 0.99, method="higher")) if lags.size else None


def merge(folder: Path) -> Counts:
    """Stream all ``requests-N.arrows`` into requests.parquet, remove them, and count. Atomic for readers.

    RecordError when it cannot be written; then the parts are kept.
    """
    counts = Counts()
    parts = sorted(folder.glob("requests-*.arrows"))
    with (
        replacing(folder / "requests.parquet") as temporary,
        pq.ParquetWriter(temporary, REQUEST_COLUMNS, compression="zstd", write_page_checksum=True) as writer,
    ):
        for table in grouped(_counted(parts, counts)):
            writer.write_table(table)
    for part in parts:
        part.unlink()
    return counts


def _counted(parts: Iterable[Path], counts: Counts) -> Iterator[pa.RecordBatch]:
    """The batches of all parts. Where a writer was killed in one, the counts do not add up: that is seen."""
    for batch in itertools.chain.from_iterable(map(batches, parts)):
        counts.take(batch)
        yield batch


def rows_so_far(folder: Path) -> pa.Table:
    """What has been written until now by a load that still runs, up to the last batch."""
    parts = sorted(folder.glob("requests-*.arrows"))
    return pa.Table.from_batches([batch for part in parts for batch in batches(part)], schema=REQUEST_COLUMNS)


def _count(counter: Counter[str], outcomes: pa.Array) -> None:
    for item in pc.value_counts(outcomes).to_pylist():
        counter[item["values"]] += item["counts"]
