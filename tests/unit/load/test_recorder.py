"""The recorder: every attempt to disk, streamed, in the columns of the run folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.evidence.record import GROUP_ROWS, REQUEST_COLUMNS, RunFolder
from harness.load.attempt import Attempt
from harness.load.recorder import Recorder, merge, rows_so_far
from harness.model.errors import RecordError
from tests.exhaustion import no_file_beyond


def attempt(number: int, outcome: str = "ok", final: bool = True) -> Attempt:
    """A row."""
    return Attempt(
        request_id=f"r-{number}", attempt=1, user_id="user-001", cohort="chat", deployment="drillyard",
        intended_mono_s=float(number), start_mono_s=float(number), max_tokens=8, prompt_chars=3, prompt_hash="h",
        outcome=outcome, final=final, schedule_lag_ms=float(number % 100),
    )  # fmt: skip


def test_attempt_has_the_columns_of_the_run_folder() -> None:
    """A column added to the contract is missed here, not in a run."""
    fields = {field.name for field in dataclasses.fields(Attempt)}
    assert {name for name in fields if not name.endswith("_mono_s")} == set(REQUEST_COLUMNS.names)


def test_times_count_from_the_zero_of_the_run() -> None:
    """The clock's readings stay what they are; a first byte that was never sent has no time."""
    row = attempt(107)
    row.intended_mono_s, row.e2e_ms = 106.5, 20.0
    row.timed(100.0)
    assert (row.intended_start_s, row.start_s, row.first_byte_sent_s) == (6.5, 7.0, None)
    assert (row.intended_mono_s, row.start_mono_s) == (106.5, 107.0)
    assert (row.e2e_from_schedule_ms, row.ttft_from_schedule_ms) == (520.0, None)
    row.first_byte_sent_mono_s = 107.25
    row.timed(100.0)
    assert row.first_byte_sent_s == 7.25


def test_parts_become_one_file(tmp_path: Path) -> None:
    """Rows of all workers, the exact schema, counts as recorded, no part left."""
    for worker in range(2):
        recorder = Recorder(tmp_path, worker)
        for number in range(700):
            recorder.add(attempt(number, "ok" if number % 7 else "http_5xx", final=number % 7 != 0))
        recorder.close()
    counts = merge(tmp_path)
    table = pq.read_table(tmp_path / "requests.parquet")
    assert table.schema.equals(REQUEST_COLUMNS)
    assert table.num_rows == counts.attempts == 1400
    assert (counts.outcomes_final["ok"], counts.outcomes_attempts["http_5xx"]) == (1200, 200)
    assert counts.outcomes_final["http_5xx"] == 0
    assert counts.lag_p99_ms() == pytest.approx(98, abs=1)
    assert not list(tmp_path.glob("*.arrows"))


def test_row_groups_are_bounded(tmp_path: Path) -> None:
    """A million requests are merged a row group at a time: no group holds them all."""
    recorder = Recorder(tmp_path, 0)
    row = attempt(1)
    for _ in range(GROUP_ROWS + 1000):
        recorder.add(row)
    recorder.close()
    merge(tmp_path)
    assert pq.ParquetFile(tmp_path / "requests.parquet").num_row_groups == 2


def test_killed_writer_loses_only_its_last_rows(tmp_path: Path) -> None:
    """A part without its end is read up to the last whole batch."""
    recorder = Recorder(tmp_path, 0)
    for number in range(300):
        recorder.add(attempt(number))
    recorder.flush()
    recorder.close()
    part = tmp_path / "requests-0.arrows"
    part.write_bytes(part.read_bytes()[:-400])
    assert merge(tmp_path).attempts == 256


def test_a_write_that_fails_loses_only_what_could_not_be_written(tmp_path: Path) -> None:
    """It is not raised where rows come from, remembered with its reason, and every lost row is counted once."""
    recorder = Recorder(tmp_path, 0)
    for number in range(300):
        recorder.add(attempt(number))
    recorder.flush()
    size = (tmp_path / "requests-0.arrows").stat().st_size
    with no_file_beyond(size + 1000):
        for number in range(300, 900):
            recorder.add(attempt(number, final=number % 2 == 0))
        recorder.close()
    assert isinstance(recorder.failed, RecordError)
    assert "requests-0.arrows cannot be written: File too large" in str(recorder.failed)
    assert (len(recorder.unwritten), sum(recorder.unwritten)) == (600, 300)
    assert merge(tmp_path).attempts == 300
    assert RunFolder(tmp_path).unwritten() == {"requests-0.arrows": "File too large"}


def test_a_row_that_cannot_be_recorded_is_raised_and_counted(tmp_path: Path) -> None:
    """That is a bug, which ends the load; the rows that went with it are known to be lost."""
    recorder = Recorder(tmp_path, 0)
    recorder.add(dataclasses.replace(attempt(1), output_tokens="three"))  # type: ignore[arg-type]
    with pytest.raises(pa.ArrowInvalid):
        recorder.flush()
    recorder.add(attempt(2))
    recorder.close()
    assert (recorder.failed, recorder.unwritten) == (None, [True])
    assert merge(tmp_path).attempts == 1


def test_a_table_that_cannot_be_written_leaves_the_parts(tmp_path: Path) -> None:
    """Nothing that is on disk is thrown away for what could not be put there; the old table stays no torn one."""
    recorder = Recorder(tmp_path, 0)
    for number in range(300):
        recorder.add(attempt(number))
    recorder.close()
    with no_file_beyond(100), pytest.raises(RecordError, match=r"requests\.parquet cannot be written: File too large"):
        merge(tmp_path)
    assert rows_so_far(tmp_path).num_rows == 300
    assert not (tmp_path / "requests.parquet").exists()
    assert merge(tmp_path).attempts == 300
    assert RunFolder(tmp_path).unwritten() == {}, "it was made whole later"


def test_nothing_recorded_is_an_empty_file(tmp_path: Path) -> None:
    """No rows is a file with no rows, and no percentile is None."""
    Recorder(tmp_path, 0).close()
    counts = merge(tmp_path)
    assert (counts.attempts, counts.lag_p99_ms()) == (0, None)
    assert pq.read_table(tmp_path / "requests.parquet").num_rows == 0


def test_text_that_utf8_cannot_hold_loses_no_row(tmp_path: Path) -> None:
    """A server's JSON may carry half a surrogate pair: the row is kept, the character replaced."""
    recorder = Recorder(tmp_path, 0)
    recorder.add(dataclasses.replace(attempt(1, "http_5xx"), error_message="so \ud800 so"))
    recorder.add(attempt(2))
    recorder.close()
    assert merge(tmp_path).attempts == 2
    assert pq.read_table(tmp_path / "requests.parquet")["error_message"].to_pylist() == ["so ? so", None]


def test_what_was_recorded_so_far_is_read_while_it_is_written(tmp_path: Path) -> None:
    """Batches that are on disk, a torn one left out, nothing before the first."""
    assert rows_so_far(tmp_path).num_rows == 0
    recorder = Recorder(tmp_path, 0)
    assert rows_so_far(tmp_path).num_rows == 0
    recorder.add(attempt(1))
    recorder.flush()
    recorder.add(attempt(2))
    assert rows_so_far(tmp_path).column("request_id").to_pylist() == ["r-1"]
    recorder.flush()
    with (tmp_path / "requests-0.arrows").open("ab") as torn:
        torn.write(b"\xff\xff\xff\xff\x10")
    assert rows_so_far(tmp_path).num_rows == 2
    recorder.close()
