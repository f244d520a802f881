"""What a server puts on the wire: answers to completion requests as data, and a server on loopback that gives them.

``tests/cases/`` has one YAML file per answer, with the right reading of it: see its README.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

ADDRESS = "127.0.0.1"
FOLDER = Path(__file__).parent / "cases"
#: Between two pieces: long enough for the client to read them one by one, mostly. No test depends on it.
PAUSE_S = 0.001
#: A client that is not heard of for so long has gone.
GONE_S = 30.0

_LINE_ENDS = {"cr": b"\r", "crlf": b"\r\n"}


@dataclass(frozen=True)
class Wire:
    """One HTTP answer: its head, its body in the pieces in which it comes, and how the connection ends."""

    body: tuple[bytes, ...]
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/event-stream"),)
    framing: Literal["chunked", "length", "close"] = "chunked"
    ends: Literal["message", "fin", "reset"] = "message"
    spoil: Callable[[bytes], bytes] | None = None  # done to all of it, before it is sent in one piece

    @property
    def plain(self) -> bool:
        """HTTP as it should be, with nothing but a content type: whatever HTTP library a client has reads it alike."""
        return self.spoil is None and len(self.headers) == 1 and self.ends == "message"

    def header(self, name: str) -> str | None:
        """A header's value."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def head(self) -> bytes:
        """The head, with the framing's own header."""
        length = sum(map(len, self.body))
        own = {"chunked": "Transfer-Encoding: chunked", "length": f"Content-Length: {length}", "close": "X-Close: 1"}
        lines = (f"HTTP/1.1 {self.status} X", *(f"{k}: {v}" for k, v in self.headers), own[self.framing], "", "")
        return "\r\n".join(lines).encode("latin-1")

    def pieces(self) -> Iterator[bytes]:
        """All that goes over the wire, piece by piece."""
        if self.spoil is not None:
            yield self.spoil(b"".join(replace(self, spoil=None).pieces()))
            return
        yield self.head()
        for piece in self.body:
            if piece:
                yield b"%x\r\n%s\r\n" % (len(piece), piece) if self.framing == "chunked" else piece
        if self.framing == "chunked" and self.ends == "message":
            yield b"0\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """An answer that was seen somewhere, and what every client has to make of it."""

    name: str
    what: str
    stream: bool
    wire: Wire
    outcome: str
    told: dict[str, Any]  # whole, ttft, subtype, and of text, tokens, events and error what the file names


@cache
def cases() -> tuple[Case, ...]:
    """All cases of the folder."""
    return tuple(_case(path) for path in sorted(FOLDER.glob("*.yaml")))


def _case(path: Path) -> Case:
    data = yaml.safe_load(path.read_text())
    known = {"what", "stream", "status", "headers", "body", "cut", "framing", "ends", "answer"}
    assert data.keys() <= known, f"{path}: {data.keys() - known}"
    stream = data.get("stream", True)
    headers = data.get("headers", {"Content-Type": "text/event-stream" if stream else "application/json"})
    body = tuple(_piece(piece) for piece in data["body"])
    if cut := data.get("cut"):
        body = tuple(piece[at : at + cut] for piece in body for at in range(0, len(piece), cut))
    options = {name: data[name] for name in ("status", "framing", "ends") if name in data}
    wire = Wire(body, headers=tuple(headers.items()), **options)
    told = {"subtype": None, **data["answer"]}
    outcome = told.pop("outcome")
    assert {"whole", "ttft"} <= told.keys() <= {"subtype", "whole", "ttft", "text", "tokens", "events", "error"}, path
    return Case(path.stem, data["what"], stream, wire, outcome, told)


def _piece(piece: str | dict[str, str]) -> bytes:
    """A text as UTF-8; bytes in hexadecimal digits; a text with other line ends."""
    if isinstance(piece, str):
        return piece.encode()
    if "hex" in piece:
        return bytes.fromhex(piece["hex"])
    return piece["text"].encode().replace(b"\n", _LINE_ENDS[piece["line_ends"]])


@contextlib.contextmanager
def server(answer: Callable[[], Wire], pause_s: float = PAUSE_S) -> Iterator[int]:
    """A server on loopback whose connections each get one ``answer()``; yields its port."""
    listening = socket.create_server((ADDRESS, 0), backlog=128)
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threads[:] = [thread for thread in threads if thread.is_alive()]
            threads.append(threading.Thread(target=_serve, args=(connection, answer, pause_s), daemon=True))
            threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join(timeout=5)
        for thread in threads:
            thread.join(timeout=5)


def _serve(connection: socket.socket, answer: Callable[[], Wire], pause_s: float) -> None:
    with connection, contextlib.suppress(OSError):  # a client that has seen enough hangs up
        connection.settimeout(GONE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _read_request(connection)
        wire = answer()
        for piece in wire.pieces():
            connection.sendall(piece)
            if pause_s and len(wire.body) < 32:
                time.sleep(pause_s)
        if wire.ends == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _read_request(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
    while len(body) < length:
        body += _received(connection)


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("the client has gone")
    return data
