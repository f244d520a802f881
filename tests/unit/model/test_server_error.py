"""What servers say when they refuse or fail; whole answers of this kind are in tests/cases."""

from __future__ import annotations

import email.utils
import time

import pytest

from harness.model.server_error import (
    READ_CHARS_MAX,
    RETRY_AFTER_S_MAX,
    ServerError,
    of_body,
    outcome_of_status,
    retry_after_s,
    writable,
)


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (429, None, "shed_429"), (503, "queue_full", "shed_503"), (503, None, "http_5xx"), (500, None, "http_5xx"),
        (504, "upstream_timeout", "http_5xx"), (404, None, "http_4xx"), (302, None, "protocol_error"),
        (600, None, "protocol_error"), (0, None, "protocol_error"),
    ],
)  # fmt: skip
def test_outcome_of_status(status: int, code: str | None, outcome: str) -> None:
    """A 503 is a refusal only if it says so."""
    assert outcome_of_status(status, ServerError(code=code))[0] == outcome


@pytest.mark.parametrize(
    "message",
    [
        "The engine is currently busy and cannot accept new requests.",
        "The engine has reached its prefill token backlog limit.",
    ],
)
def test_engine_refusals_are_refusals(message: str) -> None:
    """What vLLM says when it does not admit a request."""
    error = ServerError("Service Unavailable", "503", message)
    assert outcome_of_status(503, error) == ("shed_503", None)


def test_retry_after() -> None:
    """Seconds or a date; nonsense is no promise; the past is now."""
    assert (retry_after_s("2"), retry_after_s(None), retry_after_s("soon")) == (2.0, None, None)
    assert 28 < (retry_after_s(email.utils.formatdate(time.time() + 30, usegmt=True)) or 0) <= 30
    assert retry_after_s(email.utils.formatdate(0, usegmt=True)) == 0.0


@pytest.mark.parametrize("value", ["²", "٣", "-1", "1.5", "", "Mon, 99 Foo 2020", "Mon, 01 Jan 99999 00:00:00 GMT"])
def test_retry_after_that_is_no_number_is_no_promise(value: str) -> None:
    """Digits of other scripts, and dates that there are not."""
    assert retry_after_s(value) is None


@pytest.mark.parametrize("value", ["9" * 308, "9" * 309, "9" * 100_000, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_retry_after_beyond_all_patience_is_a_finite_number(value: str) -> None:
    """A record that is not finite would invalidate the whole run."""
    assert retry_after_s(value) == RETRY_AFTER_S_MAX


@pytest.mark.parametrize("body", [b"", b"  ", b"<html>queue is full</html>", b"[1]", b"3", b"null", b"[" * 5000])
def test_bodies_that_say_nothing(body: bytes) -> None:
    """No error to be read, and no exception."""
    assert of_body(body).type is None
    assert not of_body(body).is_overload


def test_what_is_kept_can_be_written() -> None:
    """No half characters, no control characters but line ends, and no more than so much."""
    assert writable("a\ud83d\x00\x1b\n\tb") == "a\ufffd\ufffd\ufffd\n\tb"
    assert writable("\ud83d\ude00") == "😀"
    assert len(writable("x" * 10_000)) == READ_CHARS_MAX
