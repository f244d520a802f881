"""Whatever a server puts on the wire, what the load generator records of it can have been so."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from dataclasses import replace

import pandas as pd
import pytest

from harness.evidence.attempts import end_s
from harness.evidence.record import REQUEST_COLUMNS
from harness.evidence.view import RunView
from harness.judge import possible
from harness.load.attempt import Attempt
from harness.load.exchange import Exchange
from tests import clients, runs, wire
from tests.judge.timeout_spike import mutants
from tests.unit.load.test_exchange import attempt
from tests.wire import ADDRESS, Case


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> RunView:
    """A run of somebody else's server with a cohort of each kind; all else of it matters little here."""
    run = runs.healthy()
    mutants.as_external(run)
    chat = run.plan["scenario"]["load"]["cohorts"][0]
    run.plan["scenario"]["load"]["cohorts"].append(chat | {"name": "in one piece", "stream": False})
    return RunView(run.write(tmp_path_factory.mktemp("run") / "run"))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("case", wire.cases(), ids=lambda case: case.name)
def test_what_is_recorded_of_an_answer_is_possible(case: Case, stream: bool, view: RunView) -> None:
    """Of all those in ``tests/cases/``, as a stream and in one piece."""
    with wire.server(lambda: case.wire) as port:
        row, _ = clients.attempt(port, stream)
    assert impossible(view, row, "chat" if stream else "in one piece") == []


def test_what_is_recorded_of_a_handshake_that_is_cut_is_possible(view: RunView) -> None:
    """As by the heal of a link that was silent."""

    def cut() -> None:
        with listening.accept()[0] as connection:
            connection.recv(65536)

    with socket.create_server((ADDRESS, 0)) as listening:
        thread = threading.Thread(target=cut)
        thread.start()
        row, _ = attempt(listening.getsockname()[1], ADDRESS, tls=True)
        thread.join(clients.DEADLINE_S)
    assert row.subtype == "eof_in_handshake"
    assert impossible(view, row, "chat") == []


def impossible(view: RunView, row: Attempt, cohort: str) -> list[tuple[str, list[str]]]:
    """What is impossible in ``row``, with its times as records have them."""
    row.timed(row.start_mono_s)
    recorded = dataclasses.asdict(row) | {"final": True, "cohort": cohort, "intended_start_s": 0.0}
    recorded |= {"schedule_lag_ms": 0.0, "e2e_from_schedule_ms": row.e2e_ms, "ttft_from_schedule_ms": row.ttft_ms}
    rows = pd.DataFrame([recorded]).reindex(columns=REQUEST_COLUMNS.names)
    return list(possible.impossible(view, rows.assign(end_s=end_s(rows))))


@pytest.mark.parametrize("name", ["plain", "in-one-piece"])
def test_a_busy_machine_makes_no_answer_impossible(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and first token came in one piece, and reading them took long: neither came after the other."""
    parse = Exchange._parse

    def slowly(self: Exchange, data: bytes) -> None:
        parse(self, data)
        until_s = time.monotonic() + 0.02
        while time.monotonic() < until_s:
            pass

    monkeypatch.setattr(Exchange, "_parse", slowly)
    whole = next(case for case in wire.cases() if case.outcome == "ok" and case.stream == (name == "plain")).wire
    together = replace(whole, body=(b"".join(whole.body),), framing="length", spoil=lambda sent: sent)
    with wire.server(lambda: together) as port:
        row, _ = clients.attempt(port, stream=name == "plain")
    assert row.outcome == "ok"
    assert row.headers_ms is not None
    assert row.e2e_ms is not None
    assert row.headers_ms <= (row.ttft_ms or row.e2e_ms) <= row.e2e_ms
