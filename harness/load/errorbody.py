"""The server's error, in the error columns of an attempt."""

from __future__ import annotations

from collections.abc import Sequence

from harness.load.attempt import Attempt
from harness.load.quotes import without_quotes
from harness.model import redact
from harness.model.server_error import ServerError

MESSAGE_CHARS_MAX = 300
_PARTS = ("type", "code", "message", "request_id")


def fill_error(row: Attempt, error: ServerError) -> None:
    """Fill the error columns; null where nothing was reported."""
    for name in _PARTS:
        said = getattr(error, name)
        setattr(row, f"error_{name}", None if said is None else redact.text(said))


def shorten_error(row: Attempt, private: Sequence[str]) -> None:
    """Make the error columns fit to be recorded: engines like to quote what they were sent, ``private`` texts go."""
    for name in _PARTS:
        said = getattr(row, f"error_{name}")
        if said is not None:
            setattr(row, f"error_{name}", without_quotes(said, private)[:MESSAGE_CHARS_MAX])
