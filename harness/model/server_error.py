"""Error bodies of servers, in the envelopes that are in use, and the outcomes that they mean.

``{"error": {"type", "code", "message", "request_id"}}`` is today's; ``{"object": "error", "message": …}`` older vLLM's
and sglang's, ``{"error": "…", "error_type": …}`` TGI's, ``{"detail": …}`` FastAPI's, ``{"title", "detail"}``
RFC 9457's; proxies send plain text.
"""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Longer texts are cut.
READ_CHARS_MAX = 4096
#: A longer Retry-After is recorded as this.
RETRY_AFTER_S_MAX = 365 * 86_400.0
#: Valid HTTP status codes (RFC 9110 §15).
_STATUS = range(100, 600)
_OVERLOAD = ("overload", "overflow", "queue", "admission", "capacity", "busy", "backlog")
#: Control characters and surrogates, except line ends and tabs.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ServerError:
    """An error as reported by the server. None: not reported."""

    type: str | None = None
    code: str | None = None
    message: str | None = None
    request_id: str | None = None

    @property
    def is_overload(self) -> bool:
        """Whether it reports overload, not a failure."""
        text = f"{self.type} {self.code} {self.message}".lower()
        return any(word in text for word in _OVERLOAD)


def whole_characters(text: str) -> str:
    """``text`` with surrogate pairs joined, which JSON may split over two strings, and U+FFFD for lone surrogates."""
    if text.isascii() or not _SURROGATES.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def writable(text: str) -> str:
    """``text`` with U+FFFD for control characters and lone surrogates, READ_CHARS_MAX characters at most."""
    return _UNWRITABLE.sub("\ufffd", whole_characters(text[:READ_CHARS_MAX]))


def in_stream(document: Mapping[str, Any]) -> ServerError | None:
    """The error in a JSON object after status 200; None without one.

    An empty ``error`` (null, false, 0, ``""``, ``[]``, ``{}``) is none, as for the openai package.
    """
    if document.get("error") or document.get("object") == "error":
        return of_document(document)
    return of_document(document) if document.get("detail") and "choices" not in document else None


def of_document(document: Mapping[str, Any]) -> ServerError:
    """The error of a JSON object that is known to be one."""
    error = document.get("error") or None
    inner: Mapping[str, Any] = error if isinstance(error, dict) else document
    message = next((text for name in ("message", "detail", "title") if (text := inner.get(name))), None)
    if not isinstance(error, dict | None):
        message = error
    return ServerError(
        type=_text(inner.get("type") or inner.get("error_type")),
        code=_text(inner.get("code")),
        message=_text(message),
        request_id=_text(inner.get("request_id") or document.get("request_id")),
    )


def of_body(body: bytes) -> ServerError:
    """The error of a body with an error status: JSON, or plain text; HTML is ignored."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        text = body[: 4 * READ_CHARS_MAX].decode(errors="replace").strip()
        return ServerError() if not text or text.startswith("<") else ServerError(message=writable(text))
    if isinstance(document, dict):
        return of_document(document)
    return ServerError(message=_text(document) if isinstance(document, str) else None)


def outcome_of_status(status: int, error: ServerError) -> tuple[str, str | None]:
    """Outcome and subtype of an answer whose status is not 200 (docs/metrics.md).

    A 503 is an admission refusal (``shed_503``) if its error reports overload, else an error like the other 5xx.
    """
    if status == 429:
        return "shed_429", None
    if status == 503 and error.is_overload:
        return "shed_503", None
    if 400 <= status < 500:
        return "http_4xx", None
    if 500 <= status < 600:
        return "http_5xx", None
    return "protocol_error", f"status_{status}" if status in _STATUS else "status"


def retry_after_s(value: str | None) -> float | None:
    """Retry-After as seconds: a number or an HTTP date (RFC 9110 §10.2.3). None when absent or unreadable.

    RETRY_AFTER_S_MAX at most: clients give up at far less (harness/load/retries.py), and a record has to be a number.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value), RETRY_AFTER_S_MAX)
    try:
        at_s = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(at_s - time.time(), 0.0), RETRY_AFTER_S_MAX)


def _text(value: Any) -> str | None:
    """A string as it is, any other JSON value as JSON; None for null."""
    if value is None:
        return None
    if isinstance(value, str):
        return writable(value)
    try:
        return writable(json.dumps(value))
    except (ValueError, RecursionError):
        return None
