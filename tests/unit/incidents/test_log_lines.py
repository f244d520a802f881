"""Gateways' logs beside a server's history: who failed, and the lines of the requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.adapters.json_server import Access
from harness.adapters.prometheus import Prometheus
from harness.evidence.history import HistoryView, Unread
from harness.model import mapping
from harness.model.errors import UsageError
from harness.run import log_lines
from harness.run.history import Wanted, fetch
from reports.incident.make import report
from reports.incident.of_history import HistoryCase
from tests.incidents import FROM, World
from tests.prometheus_server import Server, serving
from tests.unit.incidents.test_reports import texts


def line(at_s: float, request: str, **more: object) -> str:
    """What HAProxy writes for a request that was answered."""
    told = {
        "t_ms": f"{at_s * 1000:.0f}", "gateway": "gateway-a", "request_id": request, "key_id": "user-001",
        "backend": "replicas", "replica": "replica-1", "status": 200, "termination_state": "--", "queue_ms": 0,
        "total_ms": 100, **more,
    }  # fmt: skip
    return json.dumps(told) + "\n"


def test_requests_of_the_stretch_are_read(tmp_path: Path) -> None:
    """In order of time, whichever file they are in; those of the harness, other lines and cut ones are none."""
    (tmp_path / "gateway-a.log").write_text(
        line(50.0, "before") + line(120.0, "b", status=503) + line(110.0, "a") + "[NOTICE] started\n"
        + line(130.0, "pinned", backend="pin-replica-1") + line(140.0, "cut")[:60] + "\n" + line(900.0, "after")
    )  # fmt: skip
    (tmp_path / "gateway-b.log").write_text(line(115.0, "c", gateway="gateway-b", termination_state="SD"))
    found = log_lines.read(tmp_path, 100.0, 200.0)
    assert [(one.request_id, one.gateway, one.failed) for one in found.requests] == [
        ("a", "gateway-a", False),
        ("c", "gateway-b", True),
        ("b", "gateway-a", True),
    ]
    assert found.unread == (Unread("gateway-a.log", 1),)


@pytest.mark.parametrize(
    "record",
    [
        line(140.0, "cut")[:60],
        '{"level": "info"}',
        line(140.0, "a", status="good"),
        line(140.0, "a", t_ms=None),
        line(140.0, "a", t_ms="soon"),
        line(140.0, "a", t_ms="nan"),
        '{"a":' * 50_000,
        "{\x00\xff}",
    ],
)
def test_a_record_that_cannot_be_read_is_counted(tmp_path: Path, record: str) -> None:
    """With the file that it is in: a request may be missing."""
    (tmp_path / "gateway-a.log").write_text(f"{line(110.0, 'a')}[NOTICE] started\n\n{record.strip()}\n", "latin-1")
    (tmp_path / "gateway-b.log").write_text(line(120.0, "b"))
    found = log_lines.read(tmp_path, 100.0, 200.0)
    assert [one.request_id for one in found.requests] == ["a", "b"]
    assert found.unread == (Unread("gateway-a.log", 1),)


def test_the_report_names_what_could_not_be_read(tmp_path: Path) -> None:
    """With how many, first of all; its numbers are those of the requests that could."""
    logs, world = tmp_path / "logs", World()
    logs.mkdir()
    (logs / "gateway-a.log").write_text(
        line(FROM + 100.0, "a") + line(FROM + 101.0, "b", key_id="user-002", status=503) + line(FROM, "cut")[:60] + "\n"
    )
    with serving(Server(world.series(), now=lambda: FROM + world.lasts_s)) as server:
        client = Prometheus(Access.of(server.url, {}), deadline_s=5.0)
        wanted = Wanted(FROM, FROM + world.lasts_s, "", mapping.shipped(), logs)
        fetch(client, wanted, tmp_path / "history", lambda text: None)
    found = report(HistoryCase(HistoryView(tmp_path / "history")))
    said = texts(found, "overview")
    assert "gateway-a.log 22:14:00.0 UTC – 22:34:00.0 UTC: 1 of its records could not be read" in said
    assert found.figures()["impact.users"].text == "1 of 2"


def test_secrets_in_a_line_are_left_out(tmp_path: Path) -> None:
    """A log is somebody else's: whatever it holds, no key goes on."""
    (tmp_path / "a.log").write_text(line(110.0, "a", path="/v1?key=sk-abcdefghijklmnop"))
    (one,) = log_lines.read(tmp_path, 100.0, 200.0).requests
    assert "sk-abcdefghijklmnop" not in one.line


def test_a_folder_without_such_lines_is_told(tmp_path: Path) -> None:
    """What was expected, and what was found."""
    (tmp_path / "nginx.log").write_text('10.0.0.1 - - "GET / HTTP/1.1" 200\n')
    with pytest.raises(UsageError, match="found no line of an access log of haproxy in 1 files"):
        log_lines.read(tmp_path, 100.0, 200.0)
    with pytest.raises(UsageError, match="expected a folder"):
        log_lines.read(tmp_path / "none", 100.0, 200.0)
