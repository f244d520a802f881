"""The load generator at the limits of its own process: what it could not do is its own fault, and it says so."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.evidence.record import RunFolder
from tests.integration.load_processes import Load, LoadService, write_load

#: More than 64 at a time: each answer takes 400 ms.
BUSY = {"rate": "300/s", "arrivals": "constant", "retries": {"max": 1, "base": "100ms", "cap": "200ms"}}
FEW = 64
#: For some hundred attempts; the summary fits easily.
ROOM, UNWRITTEN = 100_000, 74


@pytest.fixture(scope="module")
def service() -> Iterator[LoadService]:
    """The scripted service."""
    with LoadService() as running:
        yield running


def test_the_soft_limit_of_open_files_limits_nothing(service: LoadService, tmp_path: Path) -> None:
    """`ulimit -Sn 64` with a hard limit above it: every request is sent, and the log says what was raised."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    write_load(tmp_path / "run", service, BUSY, ("case:timed",))
    running = Load(tmp_path / "run", {resource.RLIMIT_NOFILE: (FEW, hard)})
    running.wait_for_scheduled(300)
    assert running.stop() == 0, running.stderr()
    assert set(running.rows.outcome) == {"ok"}
    assert f"open files: the soft limit was {FEW}, now it is {hard}" in running.stderr()


def test_out_of_descriptors_is_not_sent(service: LoadService, tmp_path: Path) -> None:
    """The hard limit is reached: those requests are not sent, none is an error of the service, and all are kept."""
    write_load(tmp_path / "run", service, BUSY, ("case:timed",))
    running = Load(tmp_path / "run", {resource.RLIMIT_NOFILE: (FEW, FEW)})
    running.wait_for_scheduled(300)
    assert running.stop() == 0, running.stderr()
    rows = running.rows
    assert set(rows.outcome) == {"ok", "not_sent"}
    unsent = rows[rows.outcome == "not_sent"]
    assert set(unsent.subtype) == {"no_descriptor"}
    assert set(unsent.attempt) == {1}, "it is not tried again: that would only hide it"
    assert running.summary["conserved"] is True


@pytest.mark.parametrize("workers", [1, 2])
def test_records_that_cannot_be_written_end_the_load(service: LoadService, tmp_path: Path, workers: int) -> None:
    """`ulimit -f`, as a full disk: a sentence and a status of its own; what was written stays, the rest is counted."""
    write_load(tmp_path / "run", service, {"rate": "200/s", "workers": workers}, ("case:ok",))
    running = Load(tmp_path / "run", {resource.RLIMIT_FSIZE: (ROOM, ROOM)})
    assert running.wait() == UNWRITTEN, running.stderr()
    assert "cannot be written: File too large" in str(running.failed)
    assert running.failed in running.stderr()
    assert "Traceback" not in running.stderr()
    summary = running.summary
    assert summary["unwritten_requests"] > 0
    assert summary["conserved"] is True
    assert len(running.rows) == summary["attempts"] > 0
    assert RunFolder(tmp_path / "run").unwritten()
