"""The exporter as a process, beside a simulated replica and the log of a gateway."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stack.exporter.config import Config
from tests.contract.engine.running import RunningEngine, running
from tests.waiting import eventually

HOST = "127.0.15.91"


@dataclass
class RunningExporter:
    """One exporter and what it looks at."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    engine: RunningEngine
    log: Path
    agent_port: int

    def agent_says(self, replica: str) -> str:
        """What the readiness agent answers a gateway's question."""
        with socket.create_connection((HOST, self.agent_port), timeout=5) as connection:
            connection.sendall(f"{replica}\n".encode())
            return b"".join(iter(lambda: connection.recv(64), b"")).decode().strip()

    def metric(self, name: str) -> float | None:
        """The one sample of that name; None when there is none."""
        families = text_string_to_metric_families(self.client.get("/metrics").text)
        return next((s.value for family in families for s in family.samples if s.name == name), None)

    def answers(self) -> bool:
        """Whether /healthz does."""
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExporter]:
    """Started as the stack starts it, but more impatient."""
    folder = tmp_path_factory.mktemp("exporter")
    with running("sim", folder / "engine.log") as engine, contextlib.ExitStack() as held:
        port, agent_port = (held.enter_context(socket.create_server((HOST, 0))).getsockname()[1] for _ in range(2))
        held.close()
        log = folder / "gateway-a.log"
        config = Config(
            host=HOST,
            port=port,
            agent_port=agent_port,
            replicas={"replica-1": str(engine.client.base_url)},
            gateway_logs={"gateway-a": str(log)},
            gateway_kinds={"gateway-a": "haproxy"},
            synthetic_period_s=0.2,
            synthetic_deadline_s=0.5,
        )
        (folder / "exporter.json").write_text(json.dumps(dataclasses.asdict(config)))
        process = subprocess.Popen([sys.executable, "-m", "stack.exporter", "--config", folder / "exporter.json"])
        try:
            with httpx.Client(base_url=f"http://{HOST}:{port}", timeout=5, trust_env=False) as client:
                made = RunningExporter(process, client, engine, log, agent_port)
                assert eventually(made.answers), "the exporter did not answer"
                yield made
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(10)


def becomes(condition: Callable[[], bool]) -> bool:
    """Within ten seconds: rounds take half a second, machines are busy."""
    return eventually(condition)


def test_deaf_replica_is_seen_and_so_is_its_recovery(exporter: RunningExporter) -> None:
    """The replica's own health route stays 200 all the while: only the generation tells."""
    assert becomes(lambda: exporter.metric("drillyard_synthetic_ok") == 1)
    assert exporter.agent_says("replica-1") == "up"
    exporter.engine.behave(hang=True)
    try:
        assert becomes(lambda: exporter.metric("drillyard_synthetic_ok") == 0)
        assert exporter.engine.client.get("/health").status_code == 200
        assert exporter.metric("drillyard_synthetic_ttft_seconds") is None
        assert becomes(lambda: exporter.agent_says("replica-1") == "down")
    finally:
        exporter.engine.behave(hang=False)
    assert becomes(lambda: exporter.metric("drillyard_synthetic_ok") == 1)
    assert becomes(lambda: exporter.agent_says("replica-1") == "up")


def test_a_busy_replica_is_not_deaf(exporter: RunningExporter) -> None:
    """It misses every deadline of the agent, but makes tokens: to take it out would make things worse."""
    failures = "drillyard_synthetic_failures_total"
    try:
        with exporter.engine.stream(exporter.engine.long_chat()) as stream:
            next(iter(stream))
            exporter.engine.behave(slow_factor=20)
            before = exporter.metric(failures) or 0
            assert becomes(lambda: (exporter.metric(failures) or 0) >= before + 4)
            assert exporter.agent_says("replica-1") == "up"
    finally:
        exporter.engine.behave(slow_factor=1)
    assert becomes(lambda: exporter.metric("drillyard_synthetic_ok") == 1)


def test_access_log_that_comes_later_is_followed(exporter: RunningExporter) -> None:
    """No log: said so, and no count that looks like «no requests»."""
    assert becomes(lambda: exporter.metric("drillyard_gateway_log_readable") == 0)
    assert exporter.metric("drillyard_gateway_requests_total") is None
    record = {"backend": "chat", "replica": "replica-1", "status": 504, "termination_state": "sH"}
    exporter.log.write_text(json.dumps({**record, "queue_ms": 0, "total_ms": 3000}) + "\n")
    assert becomes(lambda: exporter.metric("drillyard_gateway_failures_total") == 1)
    assert exporter.metric("drillyard_gateway_log_readable") == 1


def test_end_is_orderly(exporter: RunningExporter) -> None:
    """SIGTERM while a synthetic generation is under way: no traceback, no wait."""
    exporter.process.send_signal(signal.SIGTERM)
    assert exporter.process.wait(10) in (0, -signal.SIGTERM)
