"""One page, asked for again and again as cheaply as it can be: what probes ask HTTP servers with.

Probes send some thirty requests a second for the whole of a run, beside the very thing that they measure, and a general
HTTP client spends about a millisecond of processor time on each. This is HTTP/1.1 (RFC 9112) as far as a page of
metrics needs it: a status, and a body by its length, in chunks, or until the connection ends. Redirects are not
followed (endpoint.py does, for external targets), no compression is accepted.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from harness.model import exhausted

#: An answer that has not come as a whole by then has not come.
DEADLINE_S = 1.0
#: A page of metrics has some 100 kB; nobody makes a probe read for ever.
BODY_BYTES_MAX = 16 * 1024 * 1024
_HEAD_BYTES_MAX = 65536

Reason = Literal["refused", "broken", "timeout"]


class NoAnswer(Exception):
    """There was no whole answer: nobody let us connect, it broke off or was no HTTP, or it did not come in time."""

    def __init__(self, reason: Reason, why: str) -> None:
        super().__init__(why)
        self.reason = reason


@dataclass(frozen=True)
class Answer:
    """A whole answer, whatever its status. ``fields`` are its header fields, their names in lower case."""

    status: int
    body: bytes
    fields: Mapping[bytes, bytes] = field(default_factory=dict, compare=False)

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode(errors="replace")

    def header(self, name: str) -> str:
        """The value of a header field; "" without one."""
        return self.fields.get(name.lower().encode(), b"").decode("latin-1")


class Page:
    """What is at one URL. One request at a time; the connection is kept for the next one.

    With ``keep`` false each request has a connection of its own. ``headers`` are sent with each; ``host`` is what Host
    says where that is not the URL's, and with ``tls`` the name that a certificate has to have is ``server_name``.
    A body larger than ``bytes_max`` is no answer.
    """

    def __init__(
        self,
        url: str,
        deadline_s: float = DEADLINE_S,
        keep: bool = True,
        headers: Mapping[str, str] = {},
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None, f"{url} names no host"
        self._host, self._port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        self._tls, self._server_name = tls, (server_name or parts.hostname) if tls else None
        self._deadline_s, self._keep, self._bytes_max = deadline_s, keep, bytes_max
        self._headers = {"Host": parts.netloc, "Connection": "keep-alive" if keep else "close", **headers}
        self._request = self._as_request(f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}")
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, target: str | None = None) -> Answer:
        """Ask for the page, or for ``target`` (path and query) of the same server. NoAnswer without a whole answer.

        Exhausted when no file descriptor, port or memory is left here.
        """
        request = self._request if target is None else self._as_request(target)
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._get(request)
        except TimeoutError as error:
            raise NoAnswer("timeout", f"no whole answer in {self._deadline_s:g} s") from error

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._connection is not None:
            self._connection[1].transport.abort()
            self._connection = None

    def _as_request(self, target: str) -> bytes:
        lines = (f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in self._headers.items()), "", "")
        return "\r\n".join(lines).encode("latin-1")

    async def _get(self, request: bytes) -> Answer:
        kept = self._connection is not None
        try:
            return await self._exchange(request)
        except _Unheard as error:  # the server had ended the kept connection, and nobody has looked at the request
            if not kept:
                raise NoAnswer("broken", str(error)) from error
        try:
            return await self._exchange(request)
        except _Unheard as error:
            raise NoAnswer("broken", str(error)) from error

    async def _exchange(self, request: bytes) -> Answer:
        reader, writer = await self._connected()
        reusable = False
        try:
            writer.write(request)
            answer, reusable = await _read(reader, self._bytes_max)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, ValueError) as error:
            raise NoAnswer("broken", f"{type(error).__name__}: {error}") from error
        finally:  # of what was given up on, the rest would be read as the next answer
            if not (reusable and self._keep):
                self.close()
        return answer

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._connection is None:
            try:
                self._connection = await asyncio.open_connection(
                    self._host, self._port, limit=_HEAD_BYTES_MAX, ssl=self._tls, server_hostname=self._server_name
                )
            except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host can be like this
                exhausted.raise_if_local(error)
                raise NoAnswer("refused", f"{type(error).__name__}: {error}") from error
        return self._connection


class _Unheard(Exception):
    """The connection ended before the first byte of an answer."""


async def _read(reader: asyncio.StreamReader, bytes_max: int) -> tuple[Answer, bool]:
    """An answer, and whether the connection can be asked again."""
    status, fields = await _head(reader)
    while status < 200:
        status, fields = await _head(reader)
    length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding", b"").lower()
    if status in (204, 304):
        body = b""
    elif coding:
        if coding != b"chunked":
            raise ValueError(f"transfer coding {coding!r}")
        body = await _chunks(reader, bytes_max)
    elif length is not None:
        body = await reader.readexactly(_size(int(length), bytes_max))
    else:
        return Answer(status, await _until_end(reader, bytes_max), fields), False
    return Answer(status, body, fields), fields.get(b"connection", b"keep-alive").lower() != b"close"


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes]]:
    """Status and header fields, the names in lower case."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        if not getattr(error, "partial", b""):
            raise _Unheard("the connection ended without an answer") from error
        raise
    first, *lines = head[:-4].split(b"\r\n")
    version, _, rest = first.partition(b" ")
    if version.lower() not in (b"http/1.1", b"http/1.0"):
        raise ValueError(f"no HTTP/1.1: {first[:80]!r}")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    if version.lower() == b"http/1.0":
        fields.setdefault(b"connection", b"close")
    return int(rest[:3]), fields


async def _chunks(reader: asyncio.StreamReader, bytes_max: int) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        _size(len(body) + size, bytes_max)
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise ValueError("a chunk does not end where it says")
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers say nothing that a probe wants to know
    return bytes(body)


async def _until_end(reader: asyncio.StreamReader, bytes_max: int) -> bytes:
    body = bytearray()
    while piece := await reader.read(_HEAD_BYTES_MAX):
        body += piece
        _size(len(body), bytes_max)
    return bytes(body)


def _size(size: int, bytes_max: int) -> int:
    if not 0 <= size <= bytes_max:
        raise ValueError(f"a body of {size} bytes; {bytes_max} are read at most")
    return size
