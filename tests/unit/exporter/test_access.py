"""What the exporter reads from the gateways' access logs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from stack.exporter.access import READ_BYTES_MAX, AccessLogs, Tail
from stack.gateway import kind


def line(**changes: object) -> bytes:
    """One access log line of a good request, with ``changes``."""
    fields = {
        "t": 1,
        "gateway": "gateway-a",
        "backend": "chat",
        "replica": "replica-1",
        "status": 200,
        "termination_state": "--",
        "queue_ms": 20,
        "total_ms": 350,
    }
    return json.dumps(fields | changes).encode()


def counted(*lines: bytes) -> CollectorRegistry:
    """The metrics after those lines of gateway-a."""
    registry = CollectorRegistry()
    logs = AccessLogs(registry)
    for entry in lines:
        logs.count("gateway-a", kind("haproxy"), entry)
    return registry


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """A sample of gateway-a; None when the series does not exist."""
    return registry.get_sample_value(name, {"gateway": "gateway-a", **labels})


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, False),
        ({"status": 503, "replica": "<NOSRV>"}, True),
        ({"status": 504, "termination_state": "sH"}, True),
        ({"termination_state": "SD"}, True),  # the replica died while it answered: 200 and yet broken
        ({"termination_state": "sD"}, True),
        ({"termination_state": "CD"}, False),  # the client hung up
        ({"status": -1, "termination_state": "CH"}, False),
        ({"status": 429, "termination_state": "PR"}, False),
    ],
)
def test_failure_is_what_the_service_did(changes: dict[str, object], failed: bool) -> None:
    """5xx, and good beginnings that the service's side cut; what clients end or may not do is none."""
    registry = counted(line(**changes))
    assert value(registry, "drillyard_gateway_failures_total") == (1 if failed else None)


def test_requests_are_counted_by_class() -> None:
    """A client that left before any answer is in a class of its own, so that the sum is complete."""
    registry = counted(line(), line(), line(status=404), line(status=-1, termination_state="CH"))
    counts = {c: value(registry, "drillyard_gateway_requests_total", status_class=c) for c in ("2xx", "4xx", "none")}
    assert counts == {"2xx": 2, "4xx": 1, "none": 1}


def test_times_come_from_requests_that_a_replica_was_asked() -> None:
    """Refusals at the gateway take no time and would make the service look quick."""
    registry = counted(line(total_ms=350), line(replica="<NOSRV>", status=503, total_ms=1, queue_ms=-1))
    assert value(registry, "drillyard_gateway_e2e_seconds_count") == 1
    assert value(registry, "drillyard_gateway_e2e_seconds_sum") == pytest.approx(0.35)
    assert value(registry, "drillyard_gateway_queue_seconds_count") == 1


def test_pinned_requests_of_the_harness_do_not_count() -> None:
    """Fault proofs are no users."""
    registry = counted(line(backend="pin-replica-1", status=504))
    assert value(registry, "drillyard_gateway_failures_total") is None


def test_unreadable_record_is_counted_and_a_notice_is_not() -> None:
    """A record that cannot be read is a request nobody counted: it must show. HAProxy's notices share the file."""
    registry = counted(b'{"status": ', b"[NOTICE] (1) : New worker forked", b"")
    assert value(registry, "drillyard_gateway_log_unreadable_lines_total") == 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a gateway's log is going to be."""
    return tmp_path / "gateway-a.log"


@pytest.fixture
def follow(path: Path) -> Iterator[Callable[[], Tail]]:
    """Begins to follow ``path``; closed at the end."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Tail(path)))


def test_tail_gives_whole_new_lines_only(path: Path, follow: Callable[[], Tail]) -> None:
    """Old lines are history, and half a line waits for its end."""
    path.write_bytes(b"old\n")
    tail = follow()
    assert tail.lines() == []
    with path.open("ab") as log:
        log.write(b"one\ntw")
    assert tail.lines() == [b"one"]
    with path.open("ab") as log:
        log.write(b"o\n")
    assert tail.lines() == [b"two"]


def test_tail_waits_for_its_file_and_follows_rotation_and_truncation(path: Path, follow: Callable[[], Tail]) -> None:
    """The log may come after the exporter, be renamed, or be emptied."""
    tail = follow()
    assert tail.lines() is None
    path.write_bytes(b"first, quite long\n")
    assert tail.lines() == [b"first, quite long"]
    path.rename(path.with_suffix(".1"))
    path.write_bytes(b"second, as long as the first\n")
    assert tail.lines() == [b"second, as long as the first"]
    path.write_bytes(b"3\n")
    assert tail.lines() == [b"3"]


def test_tail_reads_a_bounded_piece_at_a_time(path: Path, follow: Callable[[], Tail]) -> None:
    """A burst must not keep the exporter from answering; nothing of it is lost."""
    tail = follow()
    entry = b"x" * 99 + b"\n"
    path.write_bytes(entry * (2 * READ_BYTES_MAX // len(entry)))
    rounds = [tail.lines() or [] for _ in range(3)]
    assert 0 < len(rounds[0]) <= READ_BYTES_MAX // len(entry)
    assert sum(map(len, rounds)) == 2 * READ_BYTES_MAX // len(entry)
