"""Latency and failures from the gateways' access logs.

vLLM's own histograms leave aborted requests out, and its counters do not move for them: what users got is known only
where their requests end, at the gateway.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from harness.model.alert_rules import GATEWAY_BUCKETS_S
from stack.gateway import Kind

POLL_S = 0.5
READ_BYTES_MAX = 1 << 20  # a round: the exporter answers its own requests in between


class AccessLogs:
    """Counts the lines of all gateways' logs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gateway = ["gateway"]
        self._readable = Gauge(
            "drillyard_gateway_log_readable", "1: the gateway's access log is being read", gateway, registry=registry
        )
        self._unreadable = Counter(
            "drillyard_gateway_log_unreadable_lines",
            "Access records that could not be understood: requests that are counted nowhere else",
            gateway,
            registry=registry,
        )
        self._requests = Counter(
            "drillyard_gateway_requests", "Requests by class of answer", ["gateway", "status_class"], registry=registry
        )
        self._failures = Counter(
            "drillyard_gateway_failures",
            "Requests that ended in 5xx, or whose answer the service's side cut",
            gateway,
            registry=registry,
        )
        self._e2e = Histogram(
            "drillyard_gateway_e2e_seconds",
            "First byte of the request to last byte of the answer, for requests that a replica was asked",
            gateway,
            buckets=GATEWAY_BUCKETS_S,
            registry=registry,
        )
        self._execution = Histogram(
            "drillyard_gateway_execution_seconds",
            "As drillyard_gateway_e2e_seconds, without the time in the gateway's queue",
            gateway,
            buckets=GATEWAY_BUCKETS_S,
            registry=registry,
        )
        self._queue = Histogram(
            "drillyard_gateway_queue_seconds",
            "Time in the gateway's queue",
            gateway,
            buckets=GATEWAY_BUCKETS_S,
            registry=registry,
        )

    async def watch(self, gateway: str, kind: Kind, path: Path) -> None:
        """Follow one log for ever."""
        self._failures.labels(gateway)  # a ratio needs its 0
        self._unreadable.labels(gateway)
        with closing(Tail(path)) as tail:
            while True:
                lines = tail.lines()
                self._readable.labels(gateway).set(lines is not None)
                for line in lines or ():
                    self.count(gateway, kind, line)
                await asyncio.sleep(POLL_S)

    def count(self, gateway: str, kind: Kind, line: bytes) -> None:
        """One line of a gateway of that kind; what is no record of a user's request is passed over."""
        try:
            access = kind.access(line)
        except ValueError:
            self._unreadable.labels(gateway).inc()
            return
        if access is None:
            return
        status_class = "none" if access.status is None else f"{access.status // 100}xx"
        self._requests.labels(gateway, status_class).inc()
        if access.failed:
            self._failures.labels(gateway).inc()
        if access.queue_ms is not None:
            self._queue.labels(gateway).observe(access.queue_ms / 1000)
        if access.asked and access.total_ms is not None:
            self._e2e.labels(gateway).observe(access.total_ms / 1000)
            self._execution.labels(gateway).observe((access.total_ms - (access.queue_ms or 0)) / 1000)


class Tail:
    """Whole lines appended to a file since it was first seen; survives rotation, truncation and absence."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        self._open(at_end=True)  # what stands there already was counted before a restart, or by nobody

    def lines(self) -> list[bytes] | None:
        """Lines that are new and complete, at most ``READ_BYTES_MAX`` at once; None while there is no file."""
        if self._is_replaced():
            self._open(at_end=False)
        if self._file is None:
            return None
        *whole, self._rest = (self._rest + self._file.read(READ_BYTES_MAX)).split(b"\n")
        return whole

    def _is_replaced(self) -> bool:
        if self._file is None:
            return True
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return True
        return now.st_ino != os.fstat(self._file.fileno()).st_ino or now.st_size < self._file.tell()

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()

    def _open(self, at_end: bool) -> None:
        self.close()
        self._rest = b""
        try:
            self._file = self._path.open("rb", buffering=0)
        except FileNotFoundError:
            self._file = None
            return
        if at_end:
            self._file.seek(0, os.SEEK_END)
