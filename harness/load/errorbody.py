"""Error bodies: ``{"error": {"type", "code", "message", "request_id"}}`` into the error columns of an attempt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness import redact
from harness.load.attempt import Attempt
from harness.load.quotes import without_quotes

MESSAGE_CHARS_MAX = 300
#: Of a message so much is read: quotes are taken out before it is cut to what is recorded.
READ_CHARS_MAX = 4096
_PARTS = ("type", "code", "message", "request_id")


def fill_error(row: Attempt, body: bytes | Mapping[str, Any]) -> None:
    """Fill the error columns from a response body or from the error of an event; leave them null if it has none."""
    error = _error(body) if isinstance(body, bytes) else body
    for name in _PARTS:
        setattr(row, f"error_{name}", _text(error.get(name)))


def shorten_error(row: Attempt, private: Sequence[str]) -> None:
    """Make the error columns fit to be recorded: engines like to quote what they were sent, ``private`` texts go."""
    for name in _PARTS:
        said = getattr(row, f"error_{name}")
        if said is not None:
            setattr(row, f"error_{name}", without_quotes(said, private)[:MESSAGE_CHARS_MAX])


def _error(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def _text(value: Any) -> str | None:
    return None if value is None else redact.text(str(value)[:READ_CHARS_MAX])
