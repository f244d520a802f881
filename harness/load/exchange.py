"""One attempt on the wire: resolve, connect, send, read event by event. Every wait has a hard bound.

Limits (``LoadSpec.limits``), each from the start of the attempt unless said otherwise: ``connect`` from the
beginning of the connect; ``first_token`` until the first event with content (streams only: an answer in one piece has
no first token); ``idle`` between two reads after the first token; ``total`` for the attempt. The request as a whole has
no further deadline: it is bounded by attempts × total + the retry delays.

Reading below Locust's FastHttpSession: its ``iter_lines`` collects 1,024 bytes before it shows the first of them, which
moves the first token by hundreds of milliseconds. geventhttpclient's parser is fed with what the socket has.
"""

from __future__ import annotations

import errno
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import gevent.socket
from geventhttpclient.response import HTTPParseError

from harness.load.attempt import Attempt
from harness.load.connections import Connections
from harness.load.errorbody import fill_error, shorten_error
from harness.load.resolver import NoAddress, Pinned, Resolver
from harness.load.response import Response, read_again
from harness.load.schedule import Arrival
from harness.model import exhausted, redact
from harness.model.errors import Exhausted
from harness.model.scenario import ClientLimits
from harness.model.server_error import READ_CHARS_MAX, retry_after_s, writable
from harness.model.stream import END_BYTES_MAX, END_GRACE_S, Answer, CompletionReader

HEAD_BYTES_MAX = 1 << 18
SAID_CHARS_MAX = 300
_CONTROL = re.compile(r"[\t\r\n]")  # short texts are kept on one line

_CONNECT_SUBTYPES = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "no_answer",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ECONNRESET: "reset",
}


class Drained(BaseException):
    """Thrown into a request when the load has stopped and its time is over. Not an Exception: nobody may catch it."""


class Ended(Exception):
    """The attempt is over, with this outcome."""

    def __init__(self, outcome: str, subtype: str | None = None) -> None:
        super().__init__(outcome, subtype)
        self.outcome, self.subtype = outcome, subtype


@dataclass(frozen=True, slots=True)
class Call:
    """What an attempt sends, and to whom."""

    arrival: Arrival
    request: bytes = field(repr=False)
    limits: ClientLimits
    expect_versions: frozenset[str] | None
    store_text: bool = False


class Exchange:
    """Runs one attempt and fills in its row: everything but identity, schedule and retry columns."""

    def __init__(
        self, call: Call, row: Attempt, resolver: Resolver | Pinned, connections: Connections, start_s: float
    ) -> None:
        self._call, self._row = call, row
        self._resolver, self._connections = resolver, connections
        self._start_s = start_s
        self._last_byte_s: float | None = None
        self._sock: gevent.socket.socket | None = None
        self._address = ""
        self._streaming = call.arrival.cohort.stream
        self._response = Response("POST")
        self._head = bytearray()  # as received, until it is parsed
        self._spoiled: Exception | None = None  # the body is no HTTP from there on
        self._reader = CompletionReader(self._streaming)

    @property
    def answer(self) -> Answer:
        """What was received of the completion."""
        return self._reader.answer

    def run(self) -> None:
        """Never raises for anything that the service does; Drained passes through after the row was filled."""
        row = self._row
        try:
            self._connect()
            self._send()
            self._read_headers()
            row.outcome, row.subtype = self._read_body()
        except Ended as end:
            row.outcome, row.subtype = end.outcome, end.subtype
        except Drained:
            row.outcome, row.subtype = "cancelled_drain", "in_flight"
            raise
        finally:
            self._measure()
            self._release()

    # --- the steps -------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        user_id, rng = self._call.arrival.user_id, self._call.arrival.rng
        try:
            resolution = self._resolver.resolve(rng)
        except NoAddress as error:
            self._row.dns_ms = error.dns_ms
            raise Ended("dns_error", error.subtype) from error
        except Exhausted as error:
            raise Ended("not_sent", error.what) from error
        self._row.dns_ms = resolution.dns_ms
        self._row.gateway = self._address = resolution.address
        self._sock = self._connections.reuse(user_id, self._address)
        if self._sock is not None:
            return
        began_s = time.monotonic()
        left_s, outcome, subtype = self._bound(began_s + self._call.limits.connect, "connect_error", "no_answer")
        try:
            self._sock = self._connections.connect(self._address, left_s)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:  # closed, as without TLS
            self._resolver.invalidate()
            raise Ended("connect_error", "eof_in_handshake") from error
        except ssl.SSLError as error:
            self._resolver.invalidate()
            raise Ended("tls_error", error.reason or type(error).__name__) from error
        except OSError as error:
            _raise_if_local(error)
            self._resolver.invalidate()
            if isinstance(error, TimeoutError) and error.errno is None:
                raise Ended(outcome, subtype) from error
            raise Ended("connect_error", _CONNECT_SUBTYPES.get(error.errno or 0, "failed")) from error
        self._row.connect_ms = (time.monotonic() - began_s) * 1000

    def _send(self) -> None:
        assert self._sock is not None
        self._row.first_byte_sent_mono_s = time.monotonic()
        left_s, outcome, subtype = self._patience()
        try:
            self._sock.settimeout(left_s)
            self._sock.sendall(self._call.request)
        except TimeoutError as error:
            self._resolver.invalidate()
            raise Ended(outcome, subtype) from error
        except OSError as error:
            _raise_if_local(error)
            # The server may have answered before it closed (413, …): read on.

    def _read_headers(self) -> None:
        row, size = self._row, 0
        while not self._response.ready:
            try:
                data = self._receive()
            except OSError as error:
                data, how = b"", "reset"
                cause: OSError | None = error
            else:
                how, cause = "eof", None
            if not data:
                if size:
                    raise Ended("protocol_error", f"{how}_in_headers") from cause
                self._resolver.invalidate()
                raise Ended("connect_error", f"{how}_before_response") from cause
            size += len(data)
            self._parse(data)
            if size > HEAD_BYTES_MAX and not self._response.ready:
                raise Ended("protocol_error", "headers_too_large")
        response = self._response
        status = response.get_code()
        assert self._last_byte_s is not None, "headers consist of bytes"
        # As for tokens: when they came, not when they were read.
        row.headers_ms = (self._last_byte_s - self._start_s) * 1000
        row.http_status = status
        row.replica = response.header("x-drillyard-replica")
        row.retry_after_s = retry_after_s(response.header("retry-after"))
        self._reader.head(status, *map(response.headers_joined, ("content-type", "content-encoding")))

    def _read_body(self) -> tuple[str, str | None]:
        """Outcome and subtype. An error status decides, even if its body is incomplete."""
        try:
            broken = self._read_to_end()
        except Ended as end:
            if self._row.http_status == 200 or end.outcome == "cancelled_intended":
                raise
            self._reader.end()
            return self._reader.outcome()[0], "no_body"
        self._reader.end(broken)
        return self._reader.outcome(self._call.expect_versions)

    def _read_to_end(self) -> str | None:
        """Read until nothing can change the outcome. ``"fin"`` or ``"reset"`` when the connection broke before that."""
        reader, response = self._reader, self._response
        now_s = self._last_byte_s or time.monotonic()
        while True:
            reader.feed(response.take(), now_s)
            if reader.over:
                self._finish()
                return None
            if self._spoiled is not None:
                raise Ended("protocol_error", "bad_http") from self._spoiled
            if response.message_complete:
                return None
            try:
                data = self._receive()
            except OSError:
                return "reset"
            if not data:
                return None if self._ends_by_closing() else "fin"
            now_s = time.monotonic()
            self._parse(data)

    # --- waiting ---------------------------------------------------------------------------------------------------

    def _receive(self) -> bytes:
        """The next bytes, b"" at FIN. Ended when a limit is over, OSError when the connection breaks."""
        assert self._sock is not None
        left_s, outcome, subtype = self._patience()
        if left_s <= 0:
            raise Ended(outcome, subtype)
        try:
            self._sock.settimeout(left_s)
            data: bytes = self._sock.recv(65536)
        except TimeoutError as error:
            if error.errno is not None:  # ETIMEDOUT: the kernel gave the connection up
                raise ConnectionResetError(error.errno, "timed out") from error
            if self._row.headers_ms is None:
                self._resolver.invalidate()
            raise Ended(outcome, subtype) from error
        except OSError as error:
            _raise_if_local(error)
            raise
        if data:
            self._last_byte_s = time.monotonic()
        return data

    def _patience(self) -> tuple[float, str, str | None]:
        """Seconds left to the next limit, and what the attempt ends as when it passes."""
        limits, answer = self._call.limits, self.answer
        if not self._streaming:
            return self._bound(float("inf"), "timeout_total", None)
        if answer.first_content_s is None:
            subtype = "no_headers" if self._row.headers_ms is None else "no_token"
            return self._bound(self._start_s + limits.first_token, "timeout_ttft", subtype)
        return self._bound((self._last_byte_s or self._start_s) + limits.idle, "timeout_stall", None)

    def _bound(self, deadline_s: float, outcome: str, subtype: str | None) -> tuple[float, str, str | None]:
        """The tightest of ``deadline_s``, the total limit and the moment when this user hangs up."""
        cancel_after = self._call.arrival.cohort.cancel_after
        candidates = [(deadline_s, outcome, subtype), (self._start_s + self._call.limits.total, "timeout_total", None)]
        if cancel_after is not None:
            candidates.append((self._start_s + cancel_after, "cancelled_intended", None))
        at_s, outcome, subtype = min(candidates, key=lambda candidate: candidate[0])
        return max(at_s - time.monotonic(), 0.0), outcome, subtype

    # --- the end ---------------------------------------------------------------------------------------------------

    def _parse(self, data: bytes) -> None:
        """Take what has come. What came of a body before it was spoiled still counts, as if it had come by itself."""
        if not self._response.ready:
            self._head += data
        try:
            self._response.feed(data)
        except (HTTPParseError, ValueError) as error:
            if self._response.ready:
                self._spoiled = error
            else:
                self._parse_again(error)

    def _parse_again(self, error: Exception) -> None:
        """Take the head once more if only its repeated framing was refused. Ended if it was anything else."""
        try:
            self._response, self._spoiled = read_again(bytes(self._head), error) or (self._response, None)
        except (HTTPParseError, ValueError) as refused:
            raise Ended("protocol_error", "bad_http") from refused

    def _ends_by_closing(self) -> bool:
        """Neither length nor chunks: the FIN is the end of the message (RFC 9112 §6.3)."""
        return self._response.header("content-length") is None and self._response.header("transfer-encoding") is None

    def _finish(self) -> None:
        """The answer is complete; read the end of the HTTP message, so that the connection can serve again."""
        assert self._sock is not None
        deadline_s, after = time.monotonic() + END_GRACE_S, 0
        try:
            while self.answer.done and not self._response.message_complete and self._spoiled is None:
                self._sock.settimeout(max(deadline_s - time.monotonic(), 0.001))
                data = self._sock.recv(65536)
                after += len(data)
                if not data or after > END_BYTES_MAX or time.monotonic() > deadline_s:
                    return
                self._last_byte_s = time.monotonic()
                self._parse(data)
        except (OSError, Ended):
            return  # the user has the whole answer; only the connection is lost, and _release closes it

    def _measure(self) -> None:
        row, answer = self._row, self.answer
        now_s = time.monotonic()
        ended_s = self._last_byte_s if row.outcome == "ok" and self._last_byte_s else now_s
        row.e2e_ms = (ended_s - self._start_s) * 1000
        if answer.first_content_s is not None:
            row.ttft_ms = (answer.first_content_s - self._start_s) * 1000
        row.max_stall_ms = self._max_stall_ms(now_s)
        row.content_events = answer.content_events if self._streaming and row.http_status == 200 else None
        row.prompt_tokens, row.output_tokens = answer.prompt_tokens, answer.output_tokens
        row.served_version, row.finish_reason = _said(answer.model), _said(answer.finish_reason)
        if self._reader.error is not None:
            fill_error(row, self._reader.error)
        if row.error_type or row.error_message:
            shorten_error(row, () if self._call.store_text else (self._call.arrival.prompt.text, answer.text))
        if answer.error is not None:
            row.subtype = row.error_type or row.subtype
        row.subtype, row.replica = _said(row.subtype), _said(row.replica)

    def _max_stall_ms(self, now_s: float) -> float | None:
        """The longest gap of the stream in ms; after a time-out including the one until then. None without content."""
        longest_s, last_s = self.answer.max_stall_s, self.answer.last_content_s
        if self._row.outcome.startswith("timeout_") and last_s is not None:
            longest_s = max(longest_s or 0.0, now_s - last_s)
        return None if longest_s is None else longest_s * 1000

    def _release(self) -> None:
        """Keep the connection if the message ended cleanly; close it, and with it the request, otherwise."""
        if self._sock is None:
            return
        if self._response.message_complete and not self._response.should_close():
            self._connections.keep(self._call.arrival.user_id, self._address, self._sock)
        else:
            self._sock.close()
        self._sock = None


def _raise_if_local(error: OSError) -> None:
    """Ended as ``not_sent`` if a local resource was exhausted: that is no failure of the service."""
    if (what := exhausted.subtype(error)) is not None:
        raise Ended("not_sent", what) from error


def _said(value: str | None) -> str | None:
    """A short text of the service as it is recorded."""
    return None if value is None else _short(value[:READ_CHARS_MAX])


@lru_cache(maxsize=1024)
def _short(value: str) -> str:
    return redact.text(_CONTROL.sub("\ufffd", writable(value)))[:SAID_CHARS_MAX]


def http_request(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """The bytes of a POST. ``headers`` have to be clean: they come from the harness, not from people."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body
