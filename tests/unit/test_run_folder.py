"""The run folder: where runs are kept, and which of them is the latest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.evidence.record import EventLog, RunFolder
from harness.model.errors import RecordError
from harness.probes.base import MetricWriter, Row
from tests.exhaustion import no_file_beyond


def test_latest_is_the_newest_run(tmp_path: Path) -> None:
    """``latest`` points at the run that was begun last, by a relative link: the folder can be moved."""
    for name in ("one", "two"):
        folder = RunFolder.create(tmp_path / "runs", name)
        assert (folder.path / "logs").is_dir()
    latest = tmp_path / "runs" / "latest"
    assert latest.resolve() == folder.path.resolve()
    assert str(latest.readlink()) == "two"
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["latest", "one", "two"]


def test_two_runs_of_one_second_do_not_meet(tmp_path: Path) -> None:
    """Two stacks may begin a run with the same seed in the same second: each gets a folder of its own."""
    names = [RunFolder.create(tmp_path, "run").path.name for _ in range(3)]
    assert names == ["run", "run-2", "run-3"]
    assert str((tmp_path / "latest").readlink()) == "run-3"


def test_what_is_no_text_is_written_as_json_does(tmp_path: Path) -> None:
    """Half a surrogate pair: a path with bytes that are no UTF-8, or an escape that a server sent."""
    folder, odd = RunFolder(tmp_path), "a\ud800b\udcff–"
    folder.write_json("plan.json", {"odd": odd})
    log = EventLog(folder, 0.0)
    log.add("note", text=odd)
    log.close()
    assert folder.read_json("plan.json") == {"odd": odd}
    assert folder.events()[0].data == {"text": odd}
    assert "–".encode() in (tmp_path / "plan.json").read_bytes()


def test_an_event_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    """Whoever is taking something back goes on; the log remembers, and so does the folder."""
    log = EventLog(RunFolder(tmp_path), 0.0)
    log.add("note", text="one")
    with no_file_beyond((tmp_path / "events.jsonl").stat().st_size + 20):
        for number in range(3):
            log.add("fault_healed", fault=str(number))
        assert isinstance(log.failed, RecordError)
        log.close()
    assert "events.jsonl cannot be written: File too large" in str(log.failed)
    assert RunFolder(tmp_path).unwritten() == {"events.jsonl": "File too large"}
    assert RunFolder(tmp_path).events()[0].data == {"text": "one"}


def test_a_torn_log_on_a_full_disk_stops_nobody(tmp_path: Path) -> None:
    """Whoever died left half a line, and no byte more can be written: the next one opens it all the same."""
    (tmp_path / "events.jsonl").write_text('{"t_s": 1.0, "ki')
    with no_file_beyond((tmp_path / "events.jsonl").stat().st_size):
        log = EventLog(RunFolder(tmp_path), 0.0)
        log.add("fault_healed", fault="x")
        log.close()
    assert isinstance(log.failed, RecordError)


def test_a_log_that_was_written_says_nothing(tmp_path: Path) -> None:
    """No failure, no mark."""
    log = EventLog(RunFolder(tmp_path), 0.0)
    log.add("note", text="one")
    log.close()
    assert (log.failed, RunFolder(tmp_path).unwritten()) == (None, {})


def test_samples_that_cannot_be_written_leave_no_torn_table(tmp_path: Path) -> None:
    """The error is one for people, the folder says what is missing, and what was written until then can be read."""
    writer = MetricWriter(tmp_path / "metrics.parquet")
    for t_s in range(2000):
        writer.add(t_s / 7, [Row("gateway-a", "up", "", t_s / 3)])
    with no_file_beyond(200), pytest.raises(RecordError, match=r"metrics\.parquet cannot be written: File too large"):
        writer.close()
    assert RunFolder(tmp_path).unwritten() == {"metrics.parquet": "File too large"}
    assert not (tmp_path / "metrics.parquet").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.parquet.failed", "metrics.arrows"}
    assert len(RunFolder(tmp_path).metrics()) < 2000


def test_data_that_cannot_be_written_leave_the_old_ones(tmp_path: Path) -> None:
    """A JSON file is replaced at once or not at all; once it was, nothing is said to be missing."""
    folder = RunFolder(tmp_path)
    folder.write_json("rollout.json", {"stage": 1})
    with no_file_beyond(60), pytest.raises(RecordError, match=r"rollout\.json cannot be written"):
        folder.write_json("rollout.json", {"stages": list(range(100))})
    assert json.loads((tmp_path / "rollout.json").read_text()) == {"stage": 1}
    assert list(folder.unwritten()) == ["rollout.json"]
    folder.write_json("rollout.json", {"stage": 2})
    assert folder.unwritten() == {}


def test_a_run_is_for_its_user_alone(tmp_path: Path) -> None:
    """Nobody else can enter the folder, whatever the umask is; what the program writes, nobody else can read."""
    folder = shutil.copytree(Path(__file__).parents[1] / "fixtures" / "runs" / "v1", tmp_path / "run")
    before = os.umask(0)
    try:
        made = RunFolder.create(tmp_path / "runs", "one").path
        judge = [sys.executable, "-m", "harness", "judge", str(folder)]
        subprocess.run(judge, check=False, capture_output=True, timeout=60)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (made, made / "logs")] == [0o700, 0o700]
    assert {name: (folder / name).stat().st_mode & 0o777 for name in ("report.html", "junit.xml", "ctrf.json")} == {
        "report.html": 0o600,
        "junit.xml": 0o600,
        "ctrf.json": 0o600,
    }
