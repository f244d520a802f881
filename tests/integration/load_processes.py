"""The load generator and its scripted service as processes, for tests."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd

from tests.unit.load.jobs import write_job

ADDRESS = "127.0.16.1"


class LoadService:
    """tests/integration/load_service.py as a context."""

    def __enter__(self) -> LoadService:
        """Start, and wait until it listens."""
        self._log = tempfile.TemporaryFile("w+")
        script = Path(__file__).with_name("load_service.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), ADDRESS],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.http_port, self.dns_port = map(int, self.process.stdout.readline().split())
        return self

    def __exit__(self, *_: object) -> None:
        """Close its stdin, which ends it."""
        self.process.communicate(timeout=10)
        self._log.close()

    def notes(self) -> list[dict[str, Any]]:
        """The requests that came, in order."""
        self._log.seek(0)
        return [json.loads(line) for line in self._log.read().splitlines() if line.startswith("{")]


#: Of a process, soft and hard, by the kernel's number of the resource.
Limits = dict[int, tuple[int, int]]


class Load:
    """A running load generator; its stdout is read all the time."""

    def __init__(self, folder: Path, limits: Limits | None = None, lease: int | None = None) -> None:
        self.folder = folder
        limited = None if limits is None else lambda: [resource.setrlimit(*limit) for limit in limits.items()]
        self._stderr = (folder / "stderr").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.load", str(folder), *(() if lease is None else ("--lease", str(lease)))],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._stderr, text=True, preexec_fn=limited,
            pass_fds=() if lease is None else (lease,),
        )  # fmt: skip
        self.lines: list[dict[str, Any]] = []
        self.failed: str | None = None  # its last words
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told = json.loads(line)
            if "failed" in told:
                self.failed = told["failed"]
            else:
                self.lines.append(told)

    def wait_for_scheduled(self, count: int, limit_s: float = 60.0) -> None:
        """Until ``count`` requests have been scheduled."""
        deadline_s = time.monotonic() + limit_s
        while not (self.lines and self.lines[-1]["scheduled"] >= count):
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                self.process.terminate()
                self.wait(limit_s)
                raise AssertionError(f"only {self.lines[-1:]} after {limit_s} s: {self.stderr()}")
            self._reader.join(timeout=0.05)

    def stop(self, limit_s: float = 60.0) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(limit_s)

    def wait(self, limit_s: float = 60.0) -> int:
        """The exit code."""
        try:
            code = self.process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join(timeout=5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._stderr.close()
        return code

    def stderr(self) -> str:
        """What it said."""
        return (self.folder / "stderr").read_text()

    @property
    def rows(self) -> pd.DataFrame:
        """requests.parquet."""
        return pd.read_parquet(self.folder / "requests.parquet")

    @property
    def summary(self) -> dict[str, Any]:
        """load-summary.json."""
        summary: dict[str, Any] = json.loads((self.folder / "load-summary.json").read_text())
        return summary


def write_load(
    folder: Path, service: LoadService, load: dict[str, Any], questions: tuple[str, ...] = ("case:ok",), **more: Any
) -> None:
    """load.json for a load against ``service``."""
    where = {"name": "llm.drillyard.test", "port": service.http_port, "dns": [ADDRESS, service.dns_port]}
    write_job(folder, load, questions, service=where, **more)


def start_load(
    folder: Path, service: LoadService, load: dict[str, Any], questions: tuple[str, ...] = ("case:ok",), **more: Any
) -> Load:
    """Start a load against ``service``."""
    write_load(folder, service, load, questions, **more)
    return Load(folder)
