"""The answer: events in, facts out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.load.answer import Answer, Malformed


def event(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    """One event as bytes."""
    choices = [] if delta is None else [{"delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"model": "v1@abc", "choices": choices, **more}).encode() + b"\n\n"


def test_role_and_empty_events_are_no_token() -> None:
    """The first token is the first content, not the role, not an empty string."""
    answer = Answer()
    answer.feed(event({"role": "assistant", "content": ""}), 1.0)
    assert answer.first_content_s is None
    answer.feed(event({"content": "x"}), 2.0)
    assert (answer.first_content_s, answer.content_events) == (2.0, 1)


@pytest.mark.parametrize(
    "delta", [{"content": "x"}, {"reasoning_content": "x"}, {"reasoning": "x"}, {"tool_calls": [{"index": 0}]}]
)
def test_content_on_any_channel_is_a_token(delta: dict[str, Any]) -> None:
    """Reasoning and tool calls are what the user waits for as well."""
    answer = Answer()
    answer.feed(event(delta), 3.0)
    assert answer.first_content_s == 3.0


def test_largest_gap_between_content_events() -> None:
    """max_stall counts gaps between content events only; the time to the first token is none."""
    answer = Answer()
    for at_s, text in ((5.0, "a"), (5.1, "b"), (6.1, "c"), (6.2, "d")):
        answer.feed(event({"content": text}), at_s)
    answer.feed(event({}, "stop"), 99.0)
    assert answer.max_stall_s == pytest.approx(1.0)
    assert answer.text == "abcd"


def test_one_content_event_has_no_stall() -> None:
    """Not measured is None, never 0."""
    answer = Answer()
    answer.feed(event({"content": "a"}), 1.0)
    assert answer.max_stall_s is None


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_may_be_cut_anywhere(size: int) -> None:
    """Network reads do not respect lines; CRLF line ends and comments are legal too."""
    stream = (
        b": comment\n\n" + event({"content": "ä b"}) + event({}, "stop").replace(b"\n", b"\r\n") + b"data: [DONE]\n\n"
    )
    answer = Answer()
    for start in range(0, len(stream), size):
        answer.feed(stream[start : start + size], 1.0)
    assert (answer.text, answer.finish_reason, answer.done) == ("ä b", "stop", True)
    assert answer.verdict(None) == ("ok", None)


def test_usage_is_the_servers() -> None:
    """Tokens come from the usage event, not from counting."""
    answer = Answer()
    answer.feed(event(None, usage={"prompt_tokens": 5, "completion_tokens": 9}), 1.0)
    assert (answer.prompt_tokens, answer.output_tokens) == (5, 9)


@pytest.mark.parametrize(
    ("events", "outcome"),
    [
        ([event({"content": "x"}, "stop"), b"data: [DONE]\n\n"], ("ok", None)),
        ([event({"content": "x"}, "length"), b"data: [DONE]\n\n"], ("ok", None)),
        ([event({"content": "x"}, "abort"), b"data: [DONE]\n\n"], ("inband_error", "abort")),
        ([event({"content": "x"}, "abort")], ("inband_error", "abort")),
        ([event({"content": "x"}, "stop")], ("broken_stream", "truncated")),
        ([event({"content": "x"}), b"data: [DONE]\n\n"], ("broken_stream", "truncated")),
        ([event({"role": "assistant"}, "stop"), b"data: [DONE]\n\n"], ("empty", None)),
        ([event({"content": "x"}), b'data: {"error": {"type": "boom"}}\n\n'], ("inband_error", "boom")),
    ],
)
def test_verdicts(events: list[bytes], outcome: tuple[str, str | None]) -> None:
    """ok needs a finish reason, [DONE] and content; an abort is never ok."""
    answer = Answer()
    for data in events:
        answer.feed(data, 1.0)
    assert answer.verdict(None) == outcome


def test_wrong_model_only_where_one_is_expected() -> None:
    """Without an expectation any version is right."""
    answer = Answer()
    answer.feed(event({"content": "x"}, "stop") + b"data: [DONE]\n\n", 1.0)
    assert answer.verdict(None)[0] == "ok"
    assert answer.verdict(frozenset({"v1@abc"}))[0] == "ok"
    assert answer.verdict(frozenset({"v2@def"})) == ("wrong_model", "v1@abc")


@pytest.mark.parametrize(
    "data", [b"data: {oops\n", b"data: []\n", b'data: {"choices": [3]}\n', b'data: {"choices": 3}\n']
)
def test_nonsense_is_malformed(data: bytes) -> None:
    """A server that talks nonsense is a finding, not a crash of the harness."""
    with pytest.raises(Malformed):
        Answer().feed(data, 1.0)
