"""Streams: their headers, their events in order, and what each event holds."""

from __future__ import annotations

import contextlib

from stack.models import questions
from tests.contract.engine.running import BATCH, RunningEngine, finish_reasons, texts
from tests.waiting import eventually


def test_first_event_is_the_role_alone(engine: RunningEngine) -> None:
    """A role event is no token: whoever measures TTFT has to skip it, in both engines."""
    first, second, *_ = engine.events(engine.chat(max_tokens=5, ignore_eos=True))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["choices"][0]["finish_reason"] is None
    assert set(second["choices"][0]["delta"]) == {"content"}


def test_stream_ends_with_finish_reason_then_done(engine: RunningEngine) -> None:
    """One finish reason, in the last chunk, and nothing but [DONE] behind it."""
    events = engine.events(engine.chat(max_tokens=5, ignore_eos=True))
    assert events[-1] == "[DONE]"
    assert events[-2]["choices"][0]["finish_reason"] == "length"
    assert finish_reasons(events) == ["length"]


def test_usage_chunk_only_when_asked_for(engine: RunningEngine) -> None:
    """``include_usage`` adds one chunk without choices before [DONE]."""
    body = engine.chat(max_tokens=7, ignore_eos=True)
    *_, usage_event, done = engine.events({**body, "stream_options": {"include_usage": True}})
    assert done == "[DONE]"
    assert usage_event["choices"] == []
    usage = usage_event["usage"]
    assert usage["completion_tokens"] == 7
    assert usage["total_tokens"] == usage["prompt_tokens"] + 7
    assert not any("usage" in event for event in engine.events(body) if isinstance(event, dict))


def test_keys_of_chat_chunks(engine: RunningEngine) -> None:
    """The very keys of each kind of chunk: a client that reads one engine reads the other."""
    events = engine.events(engine.chat(max_tokens=3, ignore_eos=True, stream_options={"include_usage": True}))
    common = {"id", "object", "created", "model", "choices"}
    role, token, last, usage = events[0], events[1], events[-3], events[-2]
    assert set(role) == common | {"prompt_token_ids", "prompt_text"}
    assert set(token) == set(last) == common
    assert set(usage) == common | {"usage", "system_fingerprint"}
    assert set(usage["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}
    assert set(role["choices"][0]) == {"index", "delta", "logprobs", "finish_reason"}
    assert set(token["choices"][0]) == {"index", "delta", "logprobs", "finish_reason", "token_ids"}
    assert set(last["choices"][0]) == {"index", "delta", "logprobs", "finish_reason", "stop_reason", "token_ids"}
    assert {event["object"] for event in events[:-1]} == {"chat.completion.chunk"}
    assert len({event["id"] for event in events[:-1]}) == 1


def test_completion_stream(engine: RunningEngine) -> None:
    """Text completions have no role event and carry ``text``."""
    body = {"model": "drillyard", "prompt": "Once upon a time", "max_tokens": 5, "ignore_eos": True, "temperature": 0}
    *chunks, done = engine.events({**body, "stream_options": {"include_usage": True}}, "/v1/completions")
    assert done == "[DONE]"
    first, last, usage = chunks[0], chunks[-2], chunks[-1]
    assert first["object"] == "text_completion"
    assert first["id"].startswith("cmpl-")
    assert set(first["choices"][0]) == {
        "index", "text", "logprobs", "finish_reason", "stop_reason", "prompt_token_ids", "token_ids",
    }  # fmt: skip
    assert last["choices"][0]["finish_reason"] == "length"
    assert usage["usage"]["completion_tokens"] == 5


def test_headers_come_before_the_request_leaves_the_queue(engine: RunningEngine) -> None:
    """With the batch full, a stream's status and headers come at once and its first event does not."""
    with contextlib.ExitStack() as running:
        for number in range(BATCH):
            next(iter(running.enter_context(engine.stream(engine.long_chat(number)))))
        queued = running.enter_context(engine.stream(engine.chat(max_tokens=1)))
        assert queued.response.status_code == 200
        assert queued.response.headers["content-type"].startswith("text/event-stream")
        assert eventually(lambda: engine.metric("vllm:num_requests_waiting") == 1)
        assert engine.metric("vllm:num_requests_running") == BATCH


def test_queued_request_runs_when_a_place_is_free(engine: RunningEngine) -> None:
    """The queue moves when a running request is cancelled."""
    with contextlib.ExitStack() as rest:
        with engine.stream(engine.long_chat()) as first:
            next(iter(first))
            for number in range(1, BATCH):
                next(iter(rest.enter_context(engine.stream(engine.long_chat(number)))))
            queued = rest.enter_context(engine.stream(engine.chat(max_tokens=2, ignore_eos=True)))
            assert eventually(lambda: engine.metric("vllm:num_requests_waiting") == 1)
        assert finish_reasons(list(queued)) == ["length"]


def test_known_question_gets_its_answer(engine: RunningEngine) -> None:
    """The eval set is answered right, token by token, and the answer ends by itself."""
    for item in questions()[:3]:
        events = engine.events(engine.chat(item.question, max_tokens=40))
        assert texts(events) == item.answer
        assert finish_reasons(events) == ["stop"]


def test_whole_answer(engine: RunningEngine) -> None:
    """Without ``stream`` the same answer comes in one piece, with usage."""
    item = questions()[0]
    answer = engine.post(engine.chat(item.question, max_tokens=40)).json()
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == item.answer
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == "stop"
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_keys_of_whole_answers(engine: RunningEngine) -> None:
    """The very keys of an answer in one piece, chat and text."""
    chat = engine.post(engine.chat(max_tokens=2)).json()
    text = engine.post({"model": "drillyard", "prompt": "Once", "max_tokens": 2}, "/v1/completions").json()
    common = {
        "id", "object", "created", "model", "choices", "service_tier", "system_fingerprint", "usage",
        "kv_transfer_params", "ec_transfer_params", "metrics",
    }  # fmt: skip
    choice = {"index", "logprobs", "finish_reason", "stop_reason", "token_ids", "routed_experts"}
    assert set(chat) == common | {"prompt_logprobs", "prompt_token_ids", "prompt_text"}
    assert set(text) == common
    assert set(chat["choices"][0]) == choice | {"message"}
    details = {"prompt_tokens_details", "completion_tokens_details"}
    assert set(chat["usage"]) == set(text["usage"]) == details | {"prompt_tokens", "completion_tokens", "total_tokens"}
    assert set(text["choices"][0]) == choice | {"text", "prompt_logprobs", "prompt_token_ids"}
