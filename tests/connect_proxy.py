"""An HTTP proxy of a company: it connects whoever knows its password, and resolves names that nobody else knows."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

NAME, PASSWORD = "llm.corp.test", "a-proxy-password"
_EXPECTED = "Basic " + base64.b64encode(f"user:{PASSWORD}".encode()).decode()


@dataclass
class ConnectProxy:
    """Knows ``NAME``, which is this machine; ``asked`` are the authorities that it was asked to connect to."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def url(self, password: str = PASSWORD) -> str:
        """As a variable of the environment names it."""
        return f"http://user:{password}@127.0.0.1:{self.port}"

    async def serve(self) -> None:
        """Until ``stop`` is set, from the loop's own thread."""
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0) as server:
            self.port = int(server.sockets[0].getsockname()[1])
            self.ready.set()
            await self.stop.wait()
            for writer in self.writers:
                writer.transport.abort()
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with suppress(asyncio.IncompleteReadError, OSError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, authority, *_ = head.split()
            self.asked.append(authority)
            host, _, port = authority.rpartition(":")
            if f"Proxy-Authorization: {_EXPECTED}\r\n" not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            elif method != "CONNECT" or host != NAME:
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            else:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(port))
                self.writers.append(far_writer)
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
                far_writer.close()
        with suppress(OSError):
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()


@contextmanager
def connect_proxy() -> Iterator[ConnectProxy]:
    """One that runs."""
    proxy = ConnectProxy()
    thread = threading.Thread(target=lambda: asyncio.run(proxy.serve()), daemon=True)
    thread.start()
    assert proxy.ready.wait(10)
    try:
        yield proxy
    finally:
        proxy.loop.call_soon_threadsafe(proxy.stop.set)
        thread.join(10)
