"""Whatever a server says: no client ends of it, and no request is lost. Answers come from ``tests/grammar.py``."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.evidence.record import OUTCOMES
from harness.model import server_error, sse, stream
from tests import clients
from tests.conftest import TALLY
from tests.grammar import Reached, wire
from tests.integration.load_processes import Load
from tests.unit.load.jobs import write_job
from tests.unit.properties.depth import SEED, depth
from tests.wire import ADDRESS, Wire, server

LOAD = {
    "rate": "100/s",
    "arrivals": "constant",
    "cohorts": [
        {"name": "chat", "share": 6, "users": 20},
        {"name": "whole", "share": 2, "users": 5, "stream": False},
        {"name": "impatient", "share": 1, "users": 5, "cancel_after": "20ms"},
    ],
    "limits": {"connect": "1s", "first_token": "1s", "idle": "1s", "total": "2s"},
    "retries": {"max": 1, "base": "10ms", "cap": "20ms"},
}
#: Everybody who is asked, alone; the generator as a process comes on top.
CLIENTS = clients.STREAMS | {f"{name}, in one piece": ask for name, ask in clients.WHOLES.items()}
#: What a client may say beside the outcomes of docs/metrics.md.
OWN_WORDS = {clients.NO_ANSWER, "whole", "refused", "cut", "none", "hung", "timeout", "not ok"}


def answers() -> Callable[[], Wire]:
    """One after the other, for a server that is asked by several."""
    numbers, lock = itertools.count(), threading.Lock()

    def answer() -> Wire:
        with lock:
            return wire(SEED, next(numbers))

    return answer


@depth(quick=300, deep=10_000)
def test_the_reader(examples: int, record_property: Callable[[str, object], None]) -> None:
    """It raises for nothing, always ends with an outcome that there is, and the grammar reaches nearly all of it."""
    reached, seen = Reached(sse, stream, server_error), Counter[str]()
    with reached.watching():
        for number in range(examples):
            answer = wire(SEED, number)
            for of_stream in (True, False):
                found = clients.pure(answer, of_stream)
                assert found.outcome in OUTCOMES, f"FUZZ_SEED={SEED}, answer {number}: {found}"
                seen[found.outcome] += 1
                (found.text or "").encode()
            server_error.retry_after_s(answer.header("retry-after"))
    record_property(TALLY, f"{examples} answers from seed {SEED}: {dict(seen.most_common())}\n{reached}")
    share = sum(map(len, reached.missed().values())) / reached.count
    assert share < 0.1, str(reached)


@depth(quick=40, deep=10_000)
@pytest.mark.parametrize("client", CLIENTS)
def test_clients(client: str, examples: int, record_property: Callable[[str, object], None]) -> None:
    """Each through its socket: no exception, an end within its deadline, and the reader's own judgement."""
    ask, seen, answer = CLIENTS[client], Counter[str](), wire(SEED, 0)
    with server(lambda: answer, pause_s=0) as port:
        for number in range(examples):
            answer = wire(SEED, number)
            found, read = ask(port), clients.pure(answer, client in clients.STREAMS)
            said = f"FUZZ_SEED={SEED}, answer {number}: {found}, the reader: {read}"
            known = found.outcome in OUTCOMES or found.outcome in OWN_WORDS or found.outcome.startswith("http_")
            assert known, said
            if answer.plain and read.outcome != "empty":
                assert (found.outcome in ("ok", "whole")) == (read.outcome == "ok"), said
            seen[found.outcome] += 1
    record_property(TALLY, f"{client}: {examples} answers from seed {SEED}: {dict(seen.most_common())}")


@depth(quick=150, deep=10_000)
def test_the_load_generator(examples: int, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """The whole process: it ends as it should, and each attempt is one row with an outcome that there is."""
    given = itertools.count()
    next_answer = answers()

    def answer() -> Wire:
        next(given)
        return next_answer()

    with server(answer, pause_s=0) as port:
        service = {"name": "fuzz.test", "port": port, "address": ADDRESS}
        load = Load(write_job(tmp_path / "run", LOAD, service=service))
        load.wait_for_scheduled(examples, limit_s=60 + examples / 50)
        assert load.stop() == 0, load.stderr()
    rows, summary = load.rows, load.summary
    assert set(rows.outcome) <= set(OUTCOMES) - {"not_sent"}
    assert summary["conserved"] is True
    assert summary["scheduled_requests"] == rows.final.sum() == rows.request_id.nunique() >= examples
    assert len(rows) >= next(given) >= examples / 2
    protocol = rows[rows.outcome.isin(["protocol_error", "inband_error"])]
    assert protocol.subtype.notna().all()
    record_property(TALLY, f"load: {len(rows)} attempts: {dict(Counter(rows.outcome).most_common())}")
