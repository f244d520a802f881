"""The load generator as a child process: told by ``load.json``, heard on its stdout, ended by SIGTERM.

It never shares an interpreter with the engine: Locust monkey-patches the standard library on import.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from harness.evidence.record import RunFolder
from harness.model import redact
from harness.model.errors import StackError
from harness.model.lease import Lease, PipeHeart

#: How many half-second windows are kept: ten minutes.
WINDOWS_KEPT = 1200
#: Outcomes that are no answer of the service: the client hung up on purpose, or the load was switched off.
CANCELLED = ("cancelled_intended", "cancelled_drain")
#: How long the rest of its stdout is waited for once it has ended.
READER_ENDS_WITHIN_S = 5.0


@dataclass(frozen=True)
class Window:
    """Half a second of load, as the generator told it. Latencies in ms, None when nothing was measured."""

    t_s: float
    scheduled: int  # requests since the start
    in_flight: int
    started: int
    ok: int
    failed: int
    ttft_p95_ms: float | None
    schedule_lag_p99_ms: float | None
    outcomes: dict[str, int] = field(default_factory=dict)
    within: int = 0  # of the ended requests, those that were good and within the SLO limits of one request
    late: dict[str, int] = field(default_factory=dict)  # of the good ones, those beyond the limit of ttft or e2e
    ttft_ms: dict[str, int] = field(default_factory=dict)  # of the good ones (harness/model/sparse.py)
    e2e_ms: dict[str, int] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        """Requests that ended otherwise than by their client's own will."""
        return self.ok + self.failed - sum(self.outcomes.get(outcome, 0) for outcome in CANCELLED)


def parse_window(line: str) -> Window:
    """One line of the generator's stdout. ValueError or KeyError when it is something else."""
    data: dict[str, Any] = json.loads(line)
    window = data["window"]
    return Window(
        t_s=data["t_s"],
        scheduled=data["scheduled"],
        in_flight=data["in_flight"],
        started=window["started"],
        ok=window["ok"],
        failed=window["failed"],
        ttft_p95_ms=window["ttft_p95_ms"],
        schedule_lag_p99_ms=window["schedule_lag_p99_ms"],
        outcomes=window["outcomes"],
        within=window["within"],
        late=window["late"],
        ttft_ms=window["ttft_ms"],
        e2e_ms=window["e2e_ms"],
    )


class LoadProcess:
    """One running generator (a master with its workers counts as one)."""

    def __init__(self, process: asyncio.subprocess.Process, folder: RunFolder, heart: PipeHeart) -> None:
        self._process, self._folder = process, folder
        self._heart, self._lease = heart, Lease()
        self.windows: deque[Window] = deque(maxlen=WINDOWS_KEPT)
        self.reported_ended = 0  # requests; a lower bound: lines are dropped when the pipe is full
        self._failed = ""  # the reason in its last line
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, folder: RunFolder) -> LoadProcess:
        """Start the generator on ``folder/load.json``, in a process group of its own; stderr goes to logs/load.log."""
        theirs, ours = os.pipe()
        try:
            with (folder.path / "logs" / "load.log").open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "harness.load", str(folder.path), "--lease", str(theirs),
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                    start_new_session=True, pass_fds=(theirs,),
                )  # fmt: skip
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return cls(process, folder, PipeHeart(ours))

    @property
    def pid(self) -> int:
        """Its process id, which is that of its session too."""
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._process.returncode

    @property
    def silent(self) -> bool:
        """Whether it has not reported for as long as a lease lasts: it is stopped, or hangs. To be asked regularly."""
        return self._lease.lapsed

    @property
    def death(self) -> str:
        """One sentence about an exit with an error; "" while it runs and after a clean exit."""
        if not self.ended:
            return ""
        how = f"status {self.ended}"
        if self.ended < 0:
            how = f"killed by {signal.Signals(-self.ended).name}"
        return f"the load generator died ({how}): {self._failed or 'see logs/load.log of the run'}"

    async def first_window(self, deadline_s: float = 20.0) -> None:
        """Wait until the generator has reported once. StackError when it dies or stays silent."""
        deadline = asyncio.get_running_loop().time() + deadline_s
        while not self.windows:
            if self.ended is not None:
                raise StackError(self.death or "the load generator ended before it had begun")
            if asyncio.get_running_loop().time() > deadline:
                raise StackError(
                    f"the load generator said nothing for {deadline_s:.0f} s: see logs/load.log of the run"
                )
            await asyncio.sleep(0.05)

    async def users(self, count: int) -> None:
        """Closed model whose job says ``users_first``: so many users from now on. StackError when it has died."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"users {count}\n".encode())
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise StackError("the load generator has died: see logs/load.log of the run") from None

    async def stop(self, drain_s: float) -> None:
        """End it: SIGTERM, then SIGKILL to its group when it does not write its files in time. Idempotent."""
        if self.ended is None:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # one that is stopped would not write its files
            try:
                await asyncio.wait_for(self._process.wait(), drain_s + 20.0)
            except TimeoutError:
                self._signal(signal.SIGKILL)
                await self._process.wait()
        self._heart.stop()
        # Bounded: a worker that outlived its master would hold the pipe open.
        ended, _ = await asyncio.wait({self._reader}, timeout=READER_ENDS_WITHIN_S)
        for reader in ended:
            reader.result()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            try:
                self._take(line.decode())
            except (ValueError, KeyError, TypeError):
                with suppress(OSError), (self._folder.path / "logs" / "load.log").open("ab") as log:
                    log.write(b"not understood on stdout: " + redact.raw(line))

    def _take(self, line: str) -> None:
        """Take a window, or the reason of a failure. ValueError, KeyError or TypeError for any other line."""
        data = json.loads(line)
        if "failed" in data:
            self._failed = str(data["failed"])
            return
        window = parse_window(line)
        self.windows.append(window)
        self._lease.renew()
        self.reported_ended += window.ok + window.failed
