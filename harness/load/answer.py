"""The answer of one attempt: server-sent events in, facts out. Pure, knows no network."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


class Malformed(ValueError):
    """The body is not what the API promises."""


@dataclass(slots=True)
class Answer:
    """What a completion has said so far. Times are monotonic seconds as given to ``feed``."""

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
    error: dict[str, Any] | None = None
    _rest: bytes = b""

    @property
    def text(self) -> str:
        """Everything said on the content channel."""
        return "".join(self.parts)

    @property
    def over(self) -> bool:
        """Nothing that may still come can change the outcome."""
        return self.done or self.error is not None

    def feed(self, body: bytes, now_s: float) -> None:
        """Take the next bytes of an event stream, read at ``now_s``. Malformed when a data line is no JSON object."""
        lines = (self._rest + body).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.startswith(b"data:"):
                data = line[5:].strip()
                if data == b"[DONE]":
                    self.done = True
                elif data:
                    self._event(_object(data), now_s)

    def whole(self, body: bytes) -> None:
        """Take the body of an answer that was not streamed: it has no first token, only an end."""
        self._facts(_object(body), "message")
        self.done = True

    def _event(self, event: dict[str, Any], now_s: float) -> None:
        if not self._facts(event, "delta"):
            return
        if self.last_content_s is None:
            self.first_content_s = now_s
        else:
            self.max_stall_s = max(self.max_stall_s or 0.0, now_s - self.last_content_s)
        self.last_content_s = now_s
        self.content_events += 1

    def _facts(self, event: dict[str, Any], channel: str) -> bool:
        """Note everything that ``event`` says; True if it carried content (a role alone or "" is none)."""
        try:
            return self._note(event, channel)
        except (AttributeError, TypeError) as error:
            raise Malformed(f"not a completion: {str(event)[:80]}") from error

    def _note(self, event: dict[str, Any], channel: str) -> bool:
        if event.get("error") is not None:
            error = event["error"]
            self.error = error if isinstance(error, dict) else {"message": str(error)}
        if isinstance(event.get("model"), str):
            self.model = event["model"]
        usage = event.get("usage")
        if isinstance(usage, dict):
            self.prompt_tokens, self.output_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
        content = False
        for choice in event.get("choices") or ():
            said = choice.get(channel) or {}
            text = said.get("content") or choice.get("text")
            if text:
                self.parts.append(text)
            content |= bool(text or said.get("reasoning_content") or said.get("reasoning") or said.get("tool_calls"))
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        self.has_content |= content
        return content

    def verdict(self, expect_versions: frozenset[str] | None) -> tuple[str, str | None]:
        """Outcome and subtype of an answer whose connection has nothing more to say (docs/metrics.md)."""
        if self.error is not None:
            return "inband_error", str(self.error.get("type") or "error_event")
        if self.finish_reason not in (None, "stop", "length"):
            return "inband_error", self.finish_reason
        if not self.done or self.finish_reason is None:
            return "broken_stream", "truncated"
        if not self.has_content:
            return "empty", None
        if expect_versions is not None and self.model not in expect_versions:
            return "wrong_model", self.model
        return "ok", None


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise Malformed(f"not JSON: {data[:80]!r}") from error
    if not isinstance(value, dict):
        raise Malformed(f"not a JSON object: {data[:80]!r}")
    return value
