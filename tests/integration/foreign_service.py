"""A service that Drillyard did not start: a program of the test's own, over TLS when asked for, on 127.0.0.1."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from harness.adapters.simulator import Simulator
from tests.certificate import self_signed

ADDRESS = "127.0.0.1"
HOST = "localhost"  # what the certificate is for; 127.0.0.1 is not in it
KEY = "sk-a-foreign-key-0123456789"


@dataclass
class Foreign:
    """One running service. ``environment`` makes a client trust it; ``asked`` are the names in TLS hellos so far.

    ``switches`` is the way past everything to what it can be made to do wrong.
    """

    url: str
    metrics_url: str
    port: int
    switches: Simulator
    environment: dict[str, str] = field(default_factory=dict)
    asked: list[str | None] = field(default_factory=list)
    seen: bytearray = field(default_factory=bytearray)  # what clients have sent, in the clear


@contextmanager
def foreign_service(
    folder: Path, tls: bool = False, base: str = "", arguments: Sequence[str] = ()
) -> Iterator[Foreign]:
    """A service on a free port, behind a front that keeps what clients send and speaks TLS when asked to.

    ``base`` is the path below which all of it is; ``arguments`` are those of openai_service.py.
    """
    with ExitStack() as cleanup:
        behind = _free_port()
        log = cleanup.enter_context((folder / "simulator.log").open("wb"))
        simulator = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.openai_service", "--host", ADDRESS, "--port", str(behind),
             "--base", base, *arguments],
            stdout=log, stderr=log,
        )  # fmt: skip
        cleanup.callback(simulator.wait, 10)
        cleanup.callback(simulator.kill)
        metrics = f"http://{ADDRESS}:{behind}{base}/metrics"
        _await(metrics)
        found = Foreign("", metrics, 0, Simulator(f"http://{ADDRESS}:{behind}"))
        context = _certified(folder, found) if tls else None
        found.port = cleanup.enter_context(_front(behind, context, found))
        found.url = f"{'https' if tls else 'http'}://{HOST}:{found.port}{base}"
        yield found


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


def _await(url: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        with suppress(httpx.HTTPError):
            httpx.get(url, trust_env=False)
            return
        assert time.monotonic() < deadline, f"{url} never answered"
        time.sleep(0.05)


def _certified(folder: Path, found: Foreign) -> ssl.SSLContext:
    """A certificate for HOST alone; clients trust it through SSL_CERT_FILE."""
    certificate, context = self_signed(folder, f"DNS:{HOST}")
    found.environment["SSL_CERT_FILE"] = str(certificate)
    context.sni_callback = lambda _, name, __: found.asked.append(name)
    return context


@contextmanager
def _front(behind: int, context: ssl.SSLContext | None, found: Foreign) -> Iterator[int]:
    """Forwards connections to port ``behind``; yields its own port."""
    front = _Front(behind, context, found)
    thread = threading.Thread(target=lambda: asyncio.run(front.serve()), daemon=True)
    thread.start()
    assert front.ready.wait(10)
    try:
        yield front.port
    finally:
        front.loop.call_soon_threadsafe(front.stop.set)
        thread.join(10)


class _Front:
    def __init__(self, behind: int, context: ssl.SSLContext | None, found: Foreign) -> None:
        self._behind, self._context, self._found = behind, context, found
        self.ready, self.stop, self.port = threading.Event(), asyncio.Event(), 0

    async def serve(self) -> None:
        """Until ``stop``; connections that are open then are cut."""
        self.loop = asyncio.get_running_loop()
        async with await asyncio.start_server(self._accept, ADDRESS, 0, ssl=self._context) as server:
            self.port = int(server.sockets[0].getsockname()[1])
            self.ready.set()
            await self.stop.wait()
            server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(ADDRESS, self._behind)
        await asyncio.gather(_forward(reader, far_writer, self._found.seen), _forward(far_reader, writer, bytearray()))


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keep: bytearray) -> None:
    try:
        with suppress(OSError):
            while data := await reader.read(65536):
                keep += data
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
