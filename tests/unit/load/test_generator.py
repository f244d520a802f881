"""The generator in this process: what happens when it is late, and when it breaks."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import gevent
import pandas as pd
import pytest
from gevent.util import print_run_info

from harness.load.attempt import Attempt
from harness.load.generator import BEHIND_S, Generator, Tally
from harness.load.recorder import Recorder, merge
from harness.model.errors import RecordError
from tests.exhaustion import no_file_beyond
from tests.unit.load.jobs import make_job

LOAD = {"arrivals": "constant", "retries": {"max": 0}}  # against a DNS server that does not exist: dns_error


def run(folder: Path, generator: Generator, behind_s: float, during_s: float) -> tuple[Tally, pd.DataFrame]:
    """A load that begins ``behind_s`` late and lasts ``during_s``."""
    user = gevent.spawn(generator.dispatch)
    generator.begin(time.monotonic() - behind_s, b"key")
    generator.stopping.wait(timeout=during_s)
    tally = generator.drain(1.0)
    user.join(timeout=5)
    merge(folder)
    return tally, pd.read_parquet(folder / "requests.parquet")


def test_late_arrivals_are_sent_very_late_ones_are_not(tmp_path: Path) -> None:
    """Lateness is recorded, not hidden; beyond ten seconds the request is not sent and says whose fault that is."""
    job = make_job(tmp_path / "run", LOAD)
    generator = Generator(job, Recorder(job.folder, 0), lambda *_: None)
    tally, rows = run(job.folder, generator, behind_s=BEHIND_S + 2, during_s=1.5)
    late = rows[rows.outcome == "not_sent"]
    assert set(late.subtype) == {"generator_behind"}
    assert late.schedule_lag_ms.min() > BEHIND_S * 1000
    assert len(late) >= 40  # two seconds of arrivals, and what came while this machine was busy
    sent = rows[rows.outcome == "dns_error"]
    assert len(sent) > 100
    assert 5000 < sent.schedule_lag_ms.max() <= BEHIND_S * 1000 * 1.05
    assert tally.scheduled == rows.final.sum() == len(rows)
    assert tally.scheduled - tally.started == len(late)


def test_broken_harness_ends_the_load_and_loses_no_request(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A bug in the harness stops arrivals, is remembered, and the request is accounted for as not_sent.

    What is printed about it quotes neither prompts nor keys.
    """
    job = make_job(tmp_path / "run", LOAD)

    def report(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    generator = Generator(job, Recorder(job.folder, 0), report)
    tally, rows = run(job.folder, generator, behind_s=0.0, during_s=60.0)
    assert isinstance(generator.crash, ZeroDivisionError)
    assert tally.duration_s < 50
    assert set(rows.outcome) == {"not_sent"}
    assert tally.scheduled == rows.final.sum()
    print_run_info(file=sys.stderr)
    said = capfd.readouterr().err
    assert "test_generator" in said
    assert not re.search("case:|secret-key", said + repr(job))


@pytest.mark.parametrize("flushed", ["by the clock", "when full"])
def test_records_that_cannot_be_written_end_the_load(
    flushed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first write that fails, whoever makes it: nobody goes on sending what nobody will ever see."""
    monkeypatch.setattr("harness.load.recorder.BATCH_ROWS", 5 if flushed == "when full" else 10_000)
    monkeypatch.setattr("harness.load.generator.FLUSH_S", 60.0 if flushed == "when full" else 0.1)
    job = make_job(tmp_path / "run", LOAD)
    generator = Generator(job, Recorder(job.folder, 0), lambda *_: None)
    with no_file_beyond((job.folder / "requests-0.arrows").stat().st_size + 10):
        user = gevent.spawn(generator.dispatch)
        generator.begin(time.monotonic(), b"key")
        assert generator.stopping.wait(timeout=60)
        tally = generator.drain(1.0)
        user.join(timeout=5)
    assert isinstance(generator.crash, RecordError)
    assert tally.scheduled == tally.unwritten_requests == tally.unwritten_attempts > 0
    assert "File too large" in str(tally.write_error)


@pytest.mark.parametrize("store", [False, True])
def test_texts_are_kept_only_when_asked_for(store: bool, tmp_path: Path) -> None:
    """The scenario's load.store_text, off by default."""
    job = make_job(tmp_path / "run", {**LOAD, "store_text": True} if store else LOAD)
    generator = Generator(job, Recorder(job.folder, 0), lambda *_: None)
    _, rows = run(job.folder, generator, behind_s=0.0, during_s=0.3)
    assert set(rows.prompt_text.dropna()) == ({"case:ok"} if store else set())


def test_closed_model_waits_for_its_users(tmp_path: Path) -> None:
    """Each user has at most one request in flight, and thinks in between."""
    load = {**LOAD, "model": "closed", "rate": "10/s", "cohorts": [{"name": "chat", "users": 3}]}
    job = make_job(tmp_path / "run", load)
    generator = Generator(job, Recorder(job.folder, 0), lambda *_: None)
    tally, rows = run(job.folder, generator, behind_s=0.0, during_s=1.0)
    assert set(rows.user_id) == {"user-001", "user-002", "user-003"}
    assert tally.scheduled == rows.final.sum() >= 6
    for _, own in rows.sort_values("start_s").groupby("user_id"):
        gaps = own.start_s.to_numpy()[1:] - (own.start_s + own.e2e_ms / 1000).to_numpy()[:-1]
        assert (gaps > 0.09).all()


def test_stopped_between_two_attempts_ends_as_the_last_one_did(tmp_path: Path) -> None:
    """No attempt is invented that never was: the outcome of a request is that of its last attempt."""
    job = make_job(tmp_path / "run", {**LOAD, "retries": {"max": 5, "base": "60s", "cap": "60s"}})
    generator = Generator(job, Recorder(job.folder, 0), lambda *_: None)
    tally, rows = run(job.folder, generator, behind_s=0.0, during_s=1.0)
    assert tally.scheduled == rows.final.sum() == rows.request_id.nunique() > 5
    assert tally.in_flight_at_stop > tally.in_flight_at_end == 0
    assert set(rows[rows.final].outcome) == {"dns_error"}


def test_users_are_let_in_and_out(tmp_path: Path) -> None:
    """Closed model: only so many users ask at a time, from the next request on; the load ends with all of them."""
    load = {"model": "closed", "rate": "1000/s", "cohorts": [{"name": "chat", "users": 6}], **LOAD}
    job = make_job(tmp_path / "run", load, users_first=1)
    asked: list[str] = []

    class Listed(Recorder):
        def add(self, row: Attempt) -> None:
            asked.append(row.user_id)
            super().add(row)

    generator = Generator(job, Listed(job.folder, 0), lambda *_: None)
    user = gevent.spawn(generator.dispatch)
    generator.begin(time.monotonic(), b"key")

    def ask(users: int) -> bool:
        """Whether exactly the first ``users`` ask, within a while."""
        wanted, deadline = {f"user-{n:03d}" for n in range(1, users + 1)}, time.monotonic() + 20
        while time.monotonic() < deadline:
            asked.clear()
            while len(asked) < 20 * users and time.monotonic() < deadline:
                gevent.sleep(0.02)
            if set(asked) == wanted:
                return True
        return False

    assert ask(1)
    generator.let_in(4)
    assert ask(4)
    generator.let_in(2)
    assert ask(2)
    tally = generator.drain(1.0)
    user.join(timeout=5)
    assert user.dead
    assert tally.in_flight_at_end == 0
