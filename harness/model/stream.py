"""Parser of answers to completion requests of the OpenAI API: bytes in, facts and an outcome out.

Every client uses ``CompletionReader``: only this module decides what a token is, when an answer is complete and what is
an error. It never raises for anything that a server sends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.model import server_error, sse
from harness.model.server_error import ServerError

#: An answer that is not streamed, and errors.
BODY_BYTES_MAX = 4 << 20
#: A stream of 100,000 tokens has some 30 MB.
STREAM_BYTES_MAX = 64 << 20
#: After the end of an answer its connection has so long to end the HTTP message, and so many bytes for that; then it is
#: closed. Closing at once would look like a cancel.
END_GRACE_S = 1.0
END_BYTES_MAX = 1 << 20
#: IANA's content codings that change bytes. Any other value is ignored: servers send ``none``, ``utf-8`` or nothing.
_COMPRESSIONS = frozenset(
    {"aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip", "zstd"}
    | {"x-compress", "x-gzip"}  # names of old
)
#: Finish reasons of a complete answer in OpenAI's API; servers have others of their own (``eos``, ``model_length``).
COMPLETE_REASONS = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter"})
#: The others are the subtype of the answer.
_ORDINARY = COMPLETE_REASONS - {"content_filter"}
#: Finish reasons of an answer that its server gave up: vLLM's ``abort``, DeepSeek's ``insufficient_system_resource``, …
GIVEN_UP_REASONS = frozenset(
    {"abort", "aborted", "canceled", "cancelled", "error", "failed", "insufficient_system_resource", "timeout"}
)
#: Subtype of an ``empty`` answer whose usage counts tokens: the server hides its reasoning, or dropped the tokens.
TOKENS_NOT_SENT = "tokens_not_sent"

#: Channels of a delta or a message that carry tokens, besides ``content``.
_CHANNELS = ("reasoning_content", "reasoning", "tool_calls", "function_call", "refusal", "audio")
#: Keys of a content part that carry no token by themselves.
_LABELS = ("type", "index", "text")
_TOKENS_MAX = 2**31 - 1
_decode = json.JSONDecoder().decode  # json.loads looks at its options first, for every event
_NOTHING: Mapping[str, Any] = {}


class Malformed(ValueError):
    """The answer breaks the API; ``subtype`` is that of ``protocol_error`` (docs/metrics.md)."""

    def __init__(self, subtype: str) -> None:
        super().__init__(subtype)
        self.subtype = subtype


@dataclass(slots=True)
class Answer:
    """What was received of a completion so far. Times are monotonic seconds as given to ``feed``."""

    first_content_s: float | None = None
    last_content_s: float | None = None
    max_stall_s: float | None = None  # gap between consecutive content events; None with fewer than two
    content_events: int = 0
    parts: list[str] = field(default_factory=list)
    has_content: bool = False
    model: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    done: bool = False
    error: ServerError | None = None
    unfinished: bool = False  # the stream ended inside a line
    _events: sse.Events = field(default_factory=sse.Events)
    _bytes: int = 0

    @property
    def text(self) -> str:
        """The text of the content channel."""
        return server_error.whole_characters("".join(self.parts))

    @property
    def over(self) -> bool:
        """Whether the outcome is final."""
        return self.done or self.error is not None

    @property
    def generated(self) -> bool:
        """Whether the engine generated a token: content, or a complete answer (a token may be no character)."""
        return self.has_content or self.finish_reason not in (None, *GIVEN_UP_REASONS)

    def feed(self, body: bytes, now_s: float) -> None:
        """Take the next bytes of an event stream, read at ``now_s``. Malformed, once, when they cannot be read."""
        self._bytes += len(body)
        if self._bytes > STREAM_BYTES_MAX:
            raise Malformed("stream_too_large")
        try:
            events = self._events.feed(body, now_s)
        except sse.TooLarge as error:
            raise Malformed("event_too_large") from error
        for event in events:
            if self.done or self.error is not None:
                return
            self._take(event)

    def end(self) -> None:
        """End of the stream: an event without its blank line counts if it can be parsed."""
        if self.over:
            return
        events, line = self._events.end()
        for event in events:
            try:
                self._take(event)
            except Malformed:
                continue
            line = b""
        self.unfinished = bool(line)

    def feed_body(self, body: bytes) -> None:
        """Take the body of an answer that was not streamed: it has no first token. Malformed when it cannot be read."""
        document = _object(body, "bad_body")
        self.error = server_error.in_stream(document)
        if self.error is None:
            self._facts(document, "message", "bad_body")
        self.done = True

    def verdict(self, expect_versions: frozenset[str] | None) -> tuple[str, str | None]:
        """Outcome and subtype after the end (docs/metrics.md). ``expect_versions``: model versions; None: any."""
        if self.error is not None:
            return "inband_error", self.error.type or "error_event"
        if self.finish_reason in GIVEN_UP_REASONS:
            return "inband_error", self.finish_reason
        if not self.done or self.finish_reason is None:
            return "broken_stream", "unfinished_line" if self.unfinished else "truncated"
        special = None if self.finish_reason in _ORDINARY else self.finish_reason
        if not self.has_content:
            return "empty", special or (TOKENS_NOT_SENT if self.output_tokens else None)
        if expect_versions is not None and self.model not in expect_versions:
            return "wrong_model", self.model
        return "ok", special

    def _take(self, event: sse.Event) -> None:
        type, data, at_s = event
        if data[:1] != b"{" and data.strip() == sse.DONE:
            self.done = True
        elif type == b"error":
            self.error = _error_event(data)
        else:
            document = _object(data, "bad_event")
            self.error = server_error.in_stream(document)
            if self.error is None and self._facts(document, "delta", "bad_event"):
                self._content(at_s)

    def _content(self, at_s: float) -> None:
        if self.last_content_s is None:
            self.first_content_s = at_s
        else:
            gap_s = at_s - self.last_content_s
            if self.max_stall_s is None or gap_s > self.max_stall_s:
                self.max_stall_s = gap_s
        self.last_content_s = at_s
        self.content_events += 1

    def _facts(self, document: dict[str, Any], channel: str, subtype: str) -> bool:
        """Record the facts of ``document``; True if it carried content (a role alone or "" is none). Malformed."""
        try:
            return self._note(document, channel)
        except (AttributeError, TypeError) as error:
            raise Malformed(subtype) from error

    def _note(self, document: dict[str, Any], channel: str) -> bool:
        model, usage = document.get("model"), document.get("usage")
        if model != self.model and isinstance(model, str):
            self.model = server_error.writable(model)
        if usage:
            self._usage(usage)
        content = False
        for choice in document.get("choices") or ():
            delta = choice.get(channel) or _NOTHING
            text = delta.get("content") or choice.get("text")
            if isinstance(text, str) and text:
                self.parts.append(text)
                content = True
            elif text and self._parts(text):
                content = True
            elif not content:
                content = any(map(delta.get, _CHANNELS))
            reason = choice.get("finish_reason")
            if reason:
                if not isinstance(reason, str):
                    raise Malformed("bad_finish_reason")
                self.finish_reason = server_error.writable(reason)
        if content:
            self.has_content = True
        return content

    def _parts(self, parts: list[Any]) -> bool:
        """Take content that is a list of parts; True if they are not empty. Malformed when it is no such list."""
        if not isinstance(parts, list):
            raise Malformed("bad_content")
        content = False
        for part in parts:
            text = part if isinstance(part, str) else part.get("text") or ""
            if not isinstance(text, str):
                raise Malformed("bad_content")
            self.parts.append(text)
            content = content or bool(text) or any(part[key] for key in part if key not in _LABELS)
        return content

    def _usage(self, usage: dict[str, Any]) -> None:
        if (prompt := usage.get("prompt_tokens")) is not None:
            self.prompt_tokens = _tokens(prompt)
        if (output := usage.get("completion_tokens")) is not None:
            self.output_tokens = _tokens(output)


class CompletionReader:
    """Reads one HTTP answer to a completion request: ``head``, then ``feed`` for each piece of the body, then ``end``.

    ``stream``: whether a stream was requested.
    """

    __slots__ = ("_body", "_broken", "_events", "_problem", "_size", "_stream", "_untyped", "answer", "error", "status")

    def __init__(self, stream: bool = True) -> None:
        self._stream = stream
        self._events = False  # the body is parsed as events
        self._untyped = False  # its first bytes tell
        self._body: list[bytes] = []
        self._size = 0
        self._problem: str | None = None  # subtype of the protocol error
        self._broken: str | None = None
        self.status = 0
        self.answer = Answer()
        self.error: ServerError | None = None  # of the body or of the stream

    @property
    def over(self) -> bool:
        """Whether the outcome is final."""
        return self._problem is not None or (self._events and self.answer.over)

    def head(self, status: int, content_type: str | None, content_encoding: str | None) -> None:
        """Take the head of the answer; a header that came several times is one comma-separated list.

        No client accepts a compression: with one it is a protocol error.
        """
        self.status = status
        encoding = (content_encoding or "").strip().lower()
        if not _COMPRESSIONS.isdisjoint(coding.strip() for coding in encoding.split(",")):
            self._problem = f"content_encoding_{server_error.writable(encoding)[:20]}"
        of_events = (content_type or "").strip().lower().startswith("text/event-stream")
        self._events = status == 200 and self._stream and of_events
        # SDKs read a stream whose type nobody told; what begins as an object is an answer of another kind.
        self._untyped = status == 200 and self._stream and not content_type

    def feed(self, data: bytes, now_s: float) -> None:
        """Take the next bytes of the body, without HTTP framing, received at ``now_s`` (monotonic seconds)."""
        if self._problem is not None or not data:
            return
        if self._untyped and data.strip():
            self._untyped, self._events = False, not data.lstrip().startswith(b"{")
        if self._events:
            try:
                self.answer.feed(data, now_s)
            except Malformed as error:
                self._problem = error.subtype
            return
        self._body.append(data)
        self._size += len(data)
        if self._size > BODY_BYTES_MAX:
            self._problem, self._body = "body_too_large", []

    def end(self, broken: str | None = None) -> None:
        """End of the answer. ``broken``: how the connection ended before the HTTP message did (fin, reset, …)."""
        self._broken = broken
        if self._problem is None and self._events:
            self.answer.end()
        elif self._problem is None and self.status == 200:
            self._end_body(b"".join(self._body))
        elif self._problem is None:
            self.error = server_error.of_body(b"".join(self._body))
        if self.answer.error is not None:
            self.error = self.answer.error

    def outcome(self, expect_versions: frozenset[str] | None = None) -> tuple[str, str | None]:
        """Outcome and subtype (docs/metrics.md), after ``end``. ``expect_versions``: of models; None: any."""
        if self.status != 200:
            outcome, subtype = server_error.outcome_of_status(self.status, self.error or ServerError())
            return outcome, f"body_{self._broken}" if self._broken else self._problem or subtype
        if self._problem is not None:
            return "protocol_error", self._problem
        outcome, subtype = self.answer.verdict(expect_versions)
        return (outcome, self._broken or subtype) if outcome == "broken_stream" else (outcome, subtype)

    @property
    def complete(self) -> bool:
        """Whether the answer is complete and no error."""
        return self.outcome()[0] in ("ok", "empty")

    def _end_body(self, body: bytes) -> None:
        """Parse a body that is not a stream: the answer, or an error although a stream was requested."""
        if self._broken is not None and not self._stream:
            return  # verdict: broken_stream
        if not self._stream:
            try:
                self.answer.feed_body(body)
            except Malformed as error:
                self._problem = error.subtype
            return
        try:
            self.answer.error = server_error.in_stream(_object(body, "content_type"))
        except Malformed:
            self.error = server_error.of_body(body)
        if self.answer.error is None:
            self._problem = "content_type"


def _object(data: bytes, subtype: str) -> dict[str, Any]:
    try:
        value = _decode(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise Malformed(subtype) from error
    if not isinstance(value, dict):
        raise Malformed(subtype)
    return value


def _error_event(data: bytes) -> ServerError:
    """The error of an event of type ``error``, in JSON or plain text."""
    try:
        return server_error.of_document(_object(data, ""))
    except Malformed:
        return server_error.of_body(data)


def _tokens(value: Any) -> int:
    """A token count from a JSON number or a string of digits. Malformed when it is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(_TOKENS_MAX)):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _TOKENS_MAX:
        raise Malformed("bad_usage")
    return value
