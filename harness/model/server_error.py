"""What a server says when it refuses or fails: error bodies in the shapes that are out there, and what they mean.

``{"error": {"type", "code", "message", "request_id"}}`` is today's; ``{"object": "error", "message": …}`` older vLLM's
and sglang's, ``{"error": "…", "error_type": …}`` TGI's, ``{"detail": …}`` FastAPI's, ``{"title", "detail"}``
RFC 9457's; proxies say it in plain text.
"""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Of a text so much is kept.
READ_CHARS_MAX = 4096
#: A status beyond these is none of HTTP's (RFC 9110 §15).
_STATUS = range(100, 600)
_OVERLOAD = ("overload", "overflow", "queue", "admission", "capacity", "busy", "backlog")
#: What no file and no page can hold, or nobody can see; line ends and tabs stay.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ServerError:
    """An error as the server told it, in its own words. None: it did not say."""

    type: str | None = None
    code: str | None = None
    message: str | None = None
    request_id: str | None = None

    @property
    def says_overload(self) -> bool:
        """Whether it speaks of load, not of breakage."""
        said = f"{self.type} {self.code} {self.message}".lower()
        return any(word in said for word in _OVERLOAD)


def whole_characters(text: str) -> str:
    """``text`` with pairs of surrogates put together, which JSON may bring in two strings, and U+FFFD for halves."""
    if text.isascii() or not _SURROGATES.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def writable(text: str) -> str:
    """``text`` with U+FFFD for what no file can hold, no longer than READ_CHARS_MAX."""
    return _UNWRITABLE.sub("\ufffd", whole_characters(text[:READ_CHARS_MAX]))


def in_stream(document: Mapping[str, Any]) -> ServerError | None:
    """The error that a JSON object after status 200 is or holds; None where it tells of none."""
    error = document.get("error")
    if error is not None and error is not False and error != "":
        return of_document(document)
    if document.get("object") == "error" or (document.get("detail") and "choices" not in document):
        return of_document(document)
    return None


def of_document(document: Mapping[str, Any]) -> ServerError:
    """The error of a JSON object that is known to be one."""
    error = document.get("error")
    inner: Mapping[str, Any] = error if isinstance(error, dict) else document
    message = next((said for name in ("message", "detail", "title") if (said := inner.get(name))), None)
    if not isinstance(error, dict | None):
        message = error
    return ServerError(
        type=_text(inner.get("type") or inner.get("error_type")),
        code=_text(inner.get("code")),
        message=_text(message),
        request_id=_text(inner.get("request_id") or document.get("request_id")),
    )


def of_body(body: bytes) -> ServerError:
    """The error of a body whose status says that it is one: JSON, or plain text; a page of HTML says nothing."""
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

    A 503 is an admission refusal (``shed_503``) if it says so. Otherwise it is an error like the other 5xx.
    """
    if status == 429:
        return "shed_429", None
    if status == 503 and error.says_overload:
        return "shed_503", None
    if 400 <= status < 500:
        return "http_4xx", None
    if 500 <= status < 600:
        return "http_5xx", None
    return "protocol_error", f"status_{status}" if status in _STATUS else "status"


def retry_after_s(value: str | None) -> float | None:
    """Retry-After as seconds: a number or an HTTP date (RFC 9110 §10.2.3). None when absent or unreadable."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        at_s = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(at_s - time.time(), 0.0)


def _text(value: Any) -> str | None:
    """A value of JSON as text: as it is, or as it was written."""
    if value is None:
        return None
    if isinstance(value, str):
        return writable(value)
    try:
        return writable(json.dumps(value))
    except (ValueError, RecursionError):
        return None
