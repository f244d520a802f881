"""One streamed chat request over a socket of its own, that can stop reading and hang up by FIN or by RST.

Libraries close connections their own way; here the way is the point.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

import h11

from harness.model import exhausted
from harness.model.stream import CompletionReader

#: What the kernel keeps for a reader that has stopped reading.
_SMALL_BUFFER_BYTES = 4096
_READ_BYTES = 65536


class ChatStream:
    """A request to ``address``:``port``. ``on_token`` is called for each event with content.

    Exhausted when no socket or port is left.
    """

    def __init__(self, address: str, port: int, on_token: Callable[[], None]) -> None:
        self._where, self._on_token = (address, port), on_token
        try:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        except OSError as error:
            exhausted.raise_if_local(error)
            raise
        self._socket.setblocking(False)
        self._connection = h11.Connection(h11.CLIENT)
        self._tokens = 0
        self._reading = asyncio.Event()
        self._reading.set()
        self.reader = CompletionReader()
        self.status: int | None = None
        self.headers: dict[str, str] = {}

    async def send(self, headers: Mapping[str, str], body: Mapping[str, Any]) -> None:
        """Connect and hand over the whole request. OSError when that fails."""
        loop = asyncio.get_running_loop()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER_BYTES)
        try:
            await loop.sock_connect(self._socket, self._where)
        except OSError as error:
            exhausted.raise_if_local(error)
            raise
        data = json.dumps(body).encode()
        request = h11.Request(
            method="POST",
            target="/v1/chat/completions",
            headers=[
                ("Host", f"{self._where[0]}:{self._where[1]}"),
                ("Accept-Encoding", "identity"),
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(data))),
                *headers.items(),
            ],
        )
        parts = (request, h11.Data(data=data), h11.EndOfMessage())
        await loop.sock_sendall(self._socket, b"".join(self._connection.send(part) or b"" for part in parts))

    async def read(self) -> str:
        """Read until the answer is over; how it ended. OSError or h11.RemoteProtocolError when it breaks."""
        try:
            return await self._read()
        except (OSError, h11.RemoteProtocolError):
            self._end("fin")
            raise

    async def _read(self) -> str:
        loop = asyncio.get_running_loop()
        while True:
            event = self._connection.next_event()
            if event is h11.NEED_DATA:
                await self._reading.wait()
                self._connection.receive_data(await loop.sock_recv(self._socket, _READ_BYTES))
            elif isinstance(event, h11.Response):
                self._head(event)
            elif isinstance(event, h11.Data):
                self.reader.feed(bytes(event.data), time.monotonic())
                self._tell()
            elif isinstance(event, h11.EndOfMessage):
                self._end()
                return f"answered with status {self.status}: {self.reader.outcome()[0]}"
            elif not isinstance(event, h11.InformationalResponse):
                return "the connection was closed"

    def pause(self) -> None:
        """Stop reading: what the service still sends has to stay where it is."""
        self._reading.clear()

    def hang_up(self, by: str) -> None:
        """Close the connection, by ``fin`` or by ``rst``."""
        if by == "rst":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            # The FIN goes out first, also where unread data would turn a close into a RST. One that never was
            # connected, or that the other side has closed, has none to send.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
        self._socket.close()

    def _head(self, response: h11.Response) -> None:
        self.status = response.status_code
        self.headers = {}
        for name, value in ((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers):
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        self.reader.head(self.status, self.headers.get("content-type"), self.headers.get("content-encoding"))

    def _end(self, broken: str | None = None) -> None:
        self.reader.end(broken)
        self._tell()

    def _tell(self) -> None:
        while self._tokens < self.reader.answer.content_events:
            self._tokens += 1
            self._on_token()
