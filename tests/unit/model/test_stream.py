"""The answer: events in, facts out."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from harness.model import sse, stream
from harness.model.stream import Answer, CompletionReader, Malformed


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


def test_what_is_waited_for_is_not_copied_with_each_read() -> None:
    """A long line with a blank at its end, of an event that goes on, costs no more with every two bytes that come."""
    events = sse.Events()
    events.feed(b"data: " + b"x" * 1_000_000 + b" \n", 1.0)
    tracemalloc.start()
    try:
        events.feed(b":\n", 2.0)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


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
    "data", [b"data: {oops\n\n", b"data: []\n\n", b'data: {"choices": [3]}\n\n', b'data: {"choices": 3}\n\n']
)
def test_nonsense_is_malformed(data: bytes) -> None:
    """A server that talks nonsense is a finding, not a crash of the harness."""
    with pytest.raises(Malformed):
        Answer().feed(data, 1.0)


def test_an_event_has_come_when_its_data_has() -> None:
    """Its blank line, or a comment before it, may come later: the token was there."""
    answer, data = Answer(), event({"content": "x"})
    for piece, at_s in ((data[:-8], 1.0), (data[-8:-1], 2.0), (b": wait\n", 3.0), (b"\n", 4.0)):
        assert answer.first_content_s is None
        answer.feed(piece, at_s)
    assert (answer.first_content_s, answer.content_events) == (2.0, 1)


def test_an_event_is_not_kept_waiting_for_the_next() -> None:
    """A whole event with its blank line is told in the read in which it ends, whatever has come behind it."""
    answer = Answer()
    answer.feed(event({"content": "x"}) + b"data: {", 1.0)
    assert answer.first_content_s == 1.0


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_the_end_is_told_at_its_line(end: bytes) -> None:
    """A server that keeps the connection open after [DONE], without a blank line, is waited for no longer."""
    answer = Answer()
    answer.feed(event({"content": "x"}, "stop") + b"data: [DONE]" + end, 1.0)
    assert answer.over


def feed_often(answer: Answer, data: bytes) -> None:
    """The same again and again."""
    for _ in range(512):
        answer.feed(data, 1.0)


@pytest.mark.parametrize("data", [b"x" * 64, b"data: x\n"], ids=["a line", "an event"])
def test_an_event_without_end_is_given_up(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a line nor an event may grow for ever, in whatever pieces it comes."""
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 512)
    answer = Answer()
    with pytest.raises(Malformed, match="event_too_large"):
        feed_often(answer, data)
    assert answer._bytes < 1024


def test_a_stream_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a stream."""
    monkeypatch.setattr(stream, "STREAM_BYTES_MAX", 512)
    with pytest.raises(Malformed, match="stream_too_large"):
        feed_often(Answer(), event({"content": "x"}))


def test_many_events_are_no_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is on one event, in reads of any size."""
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 512)
    data, answer = event({"content": "x"}) * 100, Answer()
    for start in range(0, len(data), 100):
        answer.feed(data[start : start + 100], 1.0)
    assert answer.content_events == 100


def test_a_body_in_one_piece_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an error that does not end so much is read, and its status decides."""
    monkeypatch.setattr(stream, "BODY_BYTES_MAX", 512)
    for status, outcome in ((200, ("protocol_error", "body_too_large")), (500, ("http_5xx", "body_too_large"))):
        reader = CompletionReader(stream=False)
        reader.head(status, "application/json", None)
        while not reader.over:
            reader.feed(b"x" * 64, 1.0)
        reader.end()
        assert reader.outcome() == outcome


def test_a_broken_refusal_is_a_refusal() -> None:
    """The status has come, and decides; how the body broke off is the subtype."""
    reader = CompletionReader()
    reader.head(503, "application/json", None)
    reader.feed(b'{"detail": "queue is fu', 1.0)
    reader.end("reset")
    assert reader.outcome() == ("shed_503", "body_reset")


def test_a_broken_stream_says_how_it_broke() -> None:
    """The connection's end, where it came before that of the HTTP message."""
    for broken, subtype in (("fin", "fin"), (None, "truncated")):
        reader = CompletionReader()
        reader.head(200, "text/event-stream", None)
        reader.feed(event({"content": "x"}), 1.0)
        reader.end(broken)
        assert reader.outcome() == ("broken_stream", subtype)
        assert not reader.complete


def test_a_token_need_not_be_a_character() -> None:
    """An engine that was asked for one token may have made one without any text: its finish reason shows it."""
    answer = Answer()
    answer.feed(event({"content": ""}, "length"), 1.0)
    assert (answer.generated, answer.has_content) == (True, False)
    answer = Answer()
    answer.feed(event({"content": ""}, "abort"), 1.0)
    assert not answer.generated
