"""A client that goes away: generation stops, blocks are freed, and which counters say so."""

from __future__ import annotations

import contextlib

import httpx
import pytest

from tests.contract.engine.running import BATCH, RunningEngine
from tests.waiting import eventually


def test_cancel_frees_everything(engine: RunningEngine) -> None:
    """Running and KV back at 0, no token after that, and the prefix cache can be reset: no block is held."""
    with engine.stream(engine.long_chat()) as stream:
        events = iter(stream)
        for _ in range(5):
            next(events)
        assert engine.metric("vllm:num_requests_running") == 1
        assert engine.metric("vllm:kv_cache_usage_perc") > 0
        assert not engine.reset_prefix_cache()
    assert eventually(engine.is_idle)
    generated = engine.metric("vllm:generation_tokens_total")
    assert generated < 1000
    assert not eventually(lambda: engine.metric("vllm:generation_tokens_total") > generated, 0.5)
    assert engine.reset_prefix_cache()


def test_cancel_does_not_count_as_abort(engine: RunningEngine) -> None:
    """``request_success_total`` moves for no finished_reason: it is no proof of a cancel."""
    reasons = ("stop", "length", "abort", "error")

    def counted() -> list[float]:
        return [engine.metric("vllm:request_success_total", finished_reason=reason) for reason in reasons]

    before = counted()
    with engine.stream(engine.long_chat()) as stream:
        next(iter(stream))
    assert eventually(engine.is_idle)
    assert counted() == before


def test_cancelled_while_queued(engine: RunningEngine) -> None:
    """A queued request that is cancelled leaves the queue before any place is free."""
    with contextlib.ExitStack() as running:
        for number in range(BATCH):
            next(iter(running.enter_context(engine.stream(engine.long_chat(number)))))
        with engine.stream(engine.long_chat(BATCH)):
            assert eventually(lambda: engine.metric("vllm:num_requests_waiting") == 1)
        assert eventually(lambda: engine.metric("vllm:num_requests_waiting") == 0)
        assert engine.metric("vllm:num_requests_running") == BATCH


def test_cancelled_whole_answer(engine: RunningEngine) -> None:
    """A client that hangs up while it waits for an answer in one piece frees its place, too."""
    with pytest.raises(httpx.ReadTimeout):
        engine.post({**engine.long_chat(), "stream": False}, timeout=0.5)
    assert eventually(engine.is_idle, 5)  # the answer itself takes longer
    assert engine.reset_prefix_cache()
