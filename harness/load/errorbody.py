"""Error bodies: ``{"error": {"type", "code", "message", "request_id"}}`` into the error columns of an attempt."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from harness.load.attempt import Attempt

MESSAGE_CHARS_MAX = 300

_KEY = re.compile(r"(?i)\bbearer\s+\S+|\b(?:sk|dy)-[\w-]{8,}")


def fill_error(row: Attempt, body: bytes | Mapping[str, Any]) -> None:
    """Fill the error columns from a response body or from the error of an event; leave them null if it has none."""
    error = _error(body) if isinstance(body, bytes) else body
    row.error_type = _text(error.get("type"))
    row.error_code = _text(error.get("code"))
    row.error_message = _text(error.get("message"))
    row.error_request_id = _text(error.get("request_id"))


def _error(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def _text(value: Any) -> str | None:
    """Short, and without anything that looks like a key: upstreams like to quote what they were sent."""
    return None if value is None else _KEY.sub("[redacted]", str(value))[:MESSAGE_CHARS_MAX]
