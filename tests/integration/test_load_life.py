"""The load generator as a process: workers, stopping, parents that die, bugs and bad input."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from harness.load.job import read_job
from harness.load.schedule import Schedule
from harness.model.lease import LEASE_S, PipeHeart
from tests.integration.load_processes import Load, LoadService, start_load, write_load
from tests.unit.load.jobs import write_job


@pytest.fixture(scope="module")
def service() -> Iterator[LoadService]:
    """The scripted service."""
    with LoadService() as running:
        yield running


def test_two_workers_send_the_schedule_of_one_and_drain(service: LoadService, tmp_path: Path) -> None:
    """Same ids, users and intended times as one process; SIGTERM cancels what outlives the drain and writes all."""
    load = {
        "rate": "40/s",
        "workers": 2,
        "limits": {"connect": "1s", "first_token": "20s", "idle": "20s", "total": "30s"},
    }
    running = start_load(tmp_path / "run", service, load, ("case:ok", "case:stall"), drain_s=0.3)
    running.wait_for_scheduled(60)
    assert running.stop() == 0, running.stderr()
    rows, summary = running.rows, running.summary
    assert (summary["workers"], summary["conserved"], summary["in_flight_at_end"]) == (2, True, 0)
    assert set(rows.outcome) == {"ok", "cancelled_drain"}
    assert summary["in_flight_at_stop"] >= summary["outcomes_final"]["cancelled_drain"] > 5
    schedule = Schedule(read_job(tmp_path / "run")).arrivals()
    rows = rows.set_index("request_id")
    planned = list(itertools.takewhile(lambda arrival: arrival.request_id <= max(rows.index), schedule))
    for worker in (0, 1):  # each stops at a moment of its own, and leaves nothing out before
        sent = [arrival.request_id in rows.index for arrival in planned[worker::2]]
        assert sent == sorted(sent, reverse=True)
    began_s = rows.loc[planned[0].request_id].intended_start_s - planned[0].offset_s
    sent_of_plan = [arrival for arrival in planned if arrival.request_id in rows.index]
    assert len(sent_of_plan) == len(rows)
    for arrival in sent_of_plan:
        row = rows.loc[arrival.request_id]
        assert row.user_id == arrival.user_id
        assert row.intended_start_s - began_s == pytest.approx(arrival.offset_s, abs=1e-6)
    assert rows.prompt_hash.nunique() == 2  # one hash key for all workers


def test_orphan_stops_by_itself(service: LoadService, tmp_path: Path) -> None:
    """When the harness is killed, the load ends within two seconds, writing what it has."""
    folder = tmp_path / "run"
    write_load(folder, service, {"rate": "20/s"}, ("case:stall",))
    starter = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'harness.load', sys.argv[1]]);"
        "print(p.pid, flush=True); p.wait()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", starter, str(folder)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    assert parent.stdout is not None
    orphan = int(parent.stdout.readline())
    while json.loads(parent.stdout.readline())["scheduled"] < 5:
        pass
    parent.kill()
    parent.wait(timeout=5)
    killed_s = time.monotonic()
    parent.stdout.read()  # ends when the orphan, the last holder of the pipe, has gone
    assert time.monotonic() - killed_s < 30, "it went on to the end of its schedule"
    parent.stdout.close()
    assert not alive(orphan)
    rows = pd.read_parquet(folder / "requests.parquet")
    assert set(rows.outcome) <= {"cancelled_drain", "timeout_stall"}
    assert json.loads((folder / "load-summary.json").read_text())["conserved"] is True


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.night), 2])
def test_load_stops_when_its_lease_lapses(workers: int, service: LoadService, tmp_path: Path) -> None:
    """The harness is stopped, not gone: its signs of life end, its pipe does not. Signs of life keep the load going."""
    reads, writes = os.pipe()
    folder = tmp_path / "run"
    write_load(folder, service, {"rate": "20/s", "workers": workers}, ("case:stall",))
    running = Load(folder, lease=reads)
    os.close(reads)
    heart = PipeHeart(os.dup(writes))
    running.wait_for_scheduled(1)
    began_s = time.monotonic()
    while time.monotonic() - began_s < LEASE_S + 2:
        assert running.process.poll() is None, "it ended in spite of signs of life"
        running.wait_for_scheduled(running.lines[-1]["scheduled"] + 1)
    heart.stop()
    assert running.wait() == 0, running.stderr()
    os.close(writes)
    assert running.summary["conserved"] is True
    assert set(running.rows.outcome) <= {"cancelled_drain", "timeout_stall"}


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_bug_ends_with_70_and_what_was_recorded(service: LoadService, tmp_path: Path) -> None:
    """A prompt that cannot be encoded breaks the generator: traceback, exit 70, a readable run folder."""
    running = start_load(tmp_path / "run", service, {"rate": "50/s"}, (*["case:ok"] * 20, "broken \ud800"))
    assert running.wait() == 70
    assert "UnicodeEncodeError" in running.stderr()
    assert set(running.rows.outcome) <= {"ok", "cancelled_drain"}
    assert running.summary["in_flight_at_end"] >= 1


def test_stop_before_the_beginning_is_a_stop(service: LoadService, tmp_path: Path) -> None:
    """SIGTERM while Python is still importing: exit 0, an empty but whole result."""
    write_load(tmp_path / "run", service, {"rate": "50/s"})
    running = Load(tmp_path / "run")
    handled = Path(f"/proc/{running.process.pid}/status")
    pause = threading.Event()
    for _ in range(1000):  # until the process catches SIGTERM, which it does before its slow imports
        caught = next(line for line in handled.read_text().splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            break
        pause.wait(0.01)
    assert running.stop() == 0, running.stderr()
    assert running.summary["conserved"] is True
    assert len(running.rows) <= running.summary["scheduled_requests"] + running.summary["attempts"]


def test_reader_that_stops_reading_does_not_stop_the_load(service: LoadService, tmp_path: Path) -> None:
    """Live lines are dropped when nobody takes them; a closed pipe ends the load."""
    folder = tmp_path / "run"
    write_load(folder, service, {"rate": "20/s"})
    read_end, write_end = os.pipe()
    process = subprocess.Popen([sys.executable, "-m", "harness.load", str(folder)], stdout=write_end)
    os.close(write_end)
    assert os.read(read_end, 10)
    os.close(read_end)
    assert process.wait(timeout=10) == 0
    assert (folder / "requests.parquet").exists()


def test_bad_job_is_refused_in_one_line(tmp_path: Path) -> None:
    """Exit 64, the file and the problem named, nothing sent, nothing written."""
    write_job(tmp_path, {}, keys_file="/nonexistent/keys.json")
    done = subprocess.run(
        [sys.executable, "-m", "harness.load", str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 64
    assert "/nonexistent/keys.json" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "requests.parquet").exists()


def test_the_harness_itself_stays_unpatched() -> None:
    """Reading jobs and schedules imports neither Locust nor gevent: the parent process must not be patched."""
    code = (
        "import sys, harness.load, harness.load.job, harness.load.schedule, harness.load.retries;"
        "sys.exit(bool({'locust', 'gevent'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 0


def test_a_hang_at_the_end_says_where_and_ends() -> None:
    """Should anything below us wait for ever after the stop, the process still ends, with the stacks on stderr."""
    code = (
        "import locust, gevent; from gevent.event import Event; from harness.load.runner import _end_for_certain;"
        "stop = Event(); gevent.spawn(_end_for_certain, stop, 0.1, lambda: print('last act', flush=True));"
        "stop.set(); Event().wait()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (70, "last act")
    assert "did not end within" in done.stderr
