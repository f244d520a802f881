"""What is gathered after the load: queue times by request id, phases of the requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.adapters.gateways.haproxy import KIND
from harness.evidence.record import REQUEST_COLUMNS, Event, RunFolder
from harness.run import collect
from tests import runs


def line(request_id: str, t: float, queue_ms: float, **more: Any) -> str:
    """An access log line as the gateways write it."""
    facts = {"replica": "replica-1", "retries": "0", "status": 200, **more}
    return json.dumps({"request_id": request_id, "t_ms": t, "queue_ms": queue_ms, **facts})


def attempts(*ids: str) -> pd.DataFrame:
    """One attempt per given id; an id that stands twice has two attempts."""
    numbers = [ids[: i + 1].count(one) for i, one in enumerate(ids)]
    return pd.DataFrame({"request_id": list(ids), "attempt": numbers, "first_byte_sent_s": 1.0})


def logs(folder: Path, **lines: list[str]) -> list[tuple[Path, collect.Reader]]:
    """Gateway logs in ``folder``."""
    paths = [folder / f"{name.replace('_', '-')}.log" for name in lines]
    for path, text in zip(paths, lines.values(), strict=True):
        path.write_text("\n".join(text) + "\n")
    return [(path, KIND.access_record) for path in paths]


def test_queue_time_comes_by_request_id(tmp_path: Path) -> None:
    """Each attempt gets the queue time of its own line, from whichever gateway wrote it."""
    folder = logs(tmp_path, gateway_a=[line("r2", 20.0, 5.0)], gateway_b=[line("r1", 10.0, 7.5)])
    assert collect.from_gateways(attempts("r1", "r2"), folder)["queue_gateway_ms"].tolist() == [7.5, 5.0]


def test_retries_share_an_id_and_are_told_apart_by_time(tmp_path: Path) -> None:
    """The n-th line of an id, by time, belongs to its n-th attempt, in whatever order rows and lines stand."""
    folder = logs(
        tmp_path, gateway_a=[line("r1", 300.0, 3.0), line("r1", 100.0, 1.0)], gateway_b=[line("r1", 200.0, 2.0)]
    )
    frame = attempts("r1", "r1", "r1")
    assert collect.from_gateways(frame, folder)["queue_gateway_ms"].tolist() == [1.0, 2.0, 3.0]
    shuffled = frame.iloc[[2, 0, 1]]
    assert collect.from_gateways(shuffled, folder)["queue_gateway_ms"].tolist() == [3.0, 1.0, 2.0]
    assert collect.from_gateways(shuffled, folder)["queue_gateway_ms"].index.tolist() == [2, 0, 1]


def test_an_attempt_that_reached_no_gateway_has_no_line(tmp_path: Path) -> None:
    """DNS did not answer at first: the only line is the second attempt's."""
    folder = logs(tmp_path, gateway_a=[line("r1", 10.0, 7.5)])
    frame = attempts("r1", "r1")
    frame.loc[0, "first_byte_sent_s"] = float("nan")
    found = collect.from_gateways(frame, folder)["queue_gateway_ms"]
    assert found.isna().tolist() == [True, False]
    assert found[1] == 7.5


def test_what_cannot_be_told_is_null(tmp_path: Path) -> None:
    """Fewer or more lines than attempts, or none: null, never 0 and never another attempt's time."""
    folder = logs(tmp_path, gateway_a=[line("few", 1.0, 9.0), line("many", 1.0, 9.0), line("many", 2.0, 9.0)])
    found = collect.from_gateways(attempts("few", "few", "many", "none"), folder)["queue_gateway_ms"]
    assert found.isna().all()
    assert found.dtype == "float64"


@pytest.mark.parametrize(
    "text",
    [
        "[NOTICE]   (1234) : New worker forked",
        '{"request_id": "r1", "t_ms": 1.0}',
        '{"request_id": "r1", "t_ms": "soon", "queue_ms": 1}',
        '{"request_id": "r1", "t_ms": 1.0, "queue_ms": ',
        "null",
        "{}",
    ],
)
def test_other_lines_are_passed_over(text: str, tmp_path: Path) -> None:
    """HAProxy's own messages, torn lines and lines without a queue time count as no line."""
    folder = logs(tmp_path, gateway_a=[text, f"haproxy[7]: {line('r1', 1.0, 4.0)}"])
    assert collect.from_gateways(attempts("r1"), folder)["queue_gateway_ms"].tolist() == [4.0]


def test_aborted_in_the_queue_is_not_negative(tmp_path: Path) -> None:
    """HAProxy writes -1 for a request that never left the queue: that is no time below zero."""
    folder = logs(tmp_path, gateway_a=[line("r1", 1.0, -1)])
    assert collect.from_gateways(attempts("r1"), folder)["queue_gateway_ms"].tolist() == [0.0]


def test_the_replica_that_was_tried_and_retries_come_from_the_log(tmp_path: Path) -> None:
    """A retry on another replica, a refusal without any replica, and an attempt that no gateway saw."""
    gateway = [line("r1", 1.0, 0.0, replica="replica-2", retries="+1"), line("r2", 2.0, 0.0, replica="<NOSRV>")]
    found = collect.from_gateways(attempts("r1", "r2", "r3"), logs(tmp_path, gateway_a=gateway))
    assert found["gateway_replica"].tolist() == ["replica-2", "", None]
    assert found["gateway_retries"].fillna(-1).tolist() == [1, 0, -1]


def test_no_logs_no_queue_times(tmp_path: Path) -> None:
    """A run whose logs could not be had still gets its table."""
    missing = [(tmp_path / "gateway-a.log", KIND.access_record)]
    assert collect.from_gateways(attempts("r1"), missing)["queue_gateway_ms"].isna().all()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """An empty run folder."""
    return RunFolder.create(tmp_path / "runs", "one")


def test_requests_get_phase_and_queue_time(tmp_path: Path) -> None:
    """finish_requests fills the columns that only now are known, keeps all rows and the schema of the file."""
    run = runs.healthy()
    told = run.requests.copy()
    run.requests[["phase", "straddles", "queue_gateway_ms"]] = None
    written = run.write(tmp_path / "run")
    first = str(told["request_id"].iloc[0])
    logs_folder = tmp_path / "run" / "logs"
    logs_folder.mkdir()
    logs(logs_folder, gateway_a=[line(first, 1.0, 12.0)])
    collect.finish_requests(written, runs.scenario())
    found = written.requests()
    assert list(found.columns) == REQUEST_COLUMNS.names
    assert len(found) == len(told)
    assert found["phase"].fillna("none").tolist() == told["phase"].fillna("none").tolist()
    assert found["straddles"].fillna("none").tolist() == told["straddles"].fillna("none").tolist()
    assert found.set_index("request_id")["queue_gateway_ms"].dropna().to_dict() == {first: 12.0}


def test_run_without_requests_is_left_alone(folder: RunFolder) -> None:
    """A run that ended before its load has no table to finish."""
    collect.finish_requests(folder, runs.scenario())
    assert not (folder.path / "requests.parquet").exists()


def test_attempts_that_a_heal_cut_are_marked() -> None:
    """Those that were on their way over that link and broke off just then: no others, and no other end."""
    cut = {"took_s": 0.5, "links": ["client-to-target"], "addresses": ["127.0.9.111"], "why": "it hung"}
    rows = [
        # id, link, start, ms, outcome, marked
        ("in flight", "127.0.9.111", 5.0, 5000.0, "broken_stream", True),
        ("while it was made again", "127.0.9.111", 9.8, 100.0, "connect_error", True),
        ("noticed late", "127.0.9.111", 5.0, 5400.0, "broken_stream", True),
        ("over another link", "127.0.9.112", 5.0, 5000.0, "broken_stream", False),
        ("before", "127.0.9.111", 5.0, 4000.0, "broken_stream", False),
        ("after", "127.0.9.111", 5.0, 6000.0, "broken_stream", False),
        ("begun after", "127.0.9.111", 10.1, 100.0, "connect_error", False),
        ("well", "127.0.9.111", 5.0, 5000.0, "ok", False),
        ("refused", "127.0.9.111", 5.0, 5000.0, "http_5xx", False),
        ("not sent", None, None, None, "not_sent", False),
    ]
    frame = pd.DataFrame([row[:5] for row in rows], columns=["request_id", "gateway", "start_s", "e2e_ms", "outcome"])
    frame = frame.assign(subtype="fin", intended_start_s=frame["start_s"])
    marked = collect.cut_by_heal(frame, [Event(10.0, "link_cut", cut), Event(20.0, "note", {"text": "x"})])
    assert marked["subtype"].eq("cut_by_heal").tolist() == [row[5] for row in rows]
    assert marked["subtype"][~marked["subtype"].eq("cut_by_heal")].eq("fin").all()
    assert collect.cut_by_heal(frame, [])["subtype"].eq("fin").all()
