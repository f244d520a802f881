"""A full queue refuses with 503 before a stream begins."""

from __future__ import annotations

import contextlib

from tests.contract.engine.running import QUEUE, RunningEngine
from tests.waiting import eventually


def test_refusal(engine: RunningEngine) -> None:
    """Running and waiting count together; the refusal is JSON of this very shape, and counted by reason."""
    counter = {"reason": "max_num_queued_reqs"}
    before = engine.metric("vllm:admission_rejections_total", **counter)
    with contextlib.ExitStack() as full:
        for number in range(QUEUE):
            full.enter_context(engine.stream(engine.long_chat(number)))
        # headers come before the engine counts a request: wait until it knows all of them
        assert eventually(
            lambda: engine.metric("vllm:num_requests_running") + engine.metric("vllm:num_requests_waiting") == QUEUE
        )
        refused = full.enter_context(engine.stream(engine.chat(max_tokens=1)))
        assert refused.response.status_code == 503
        refused.response.read()
        error = refused.response.json()["error"]
    assert error["type"] == "Service Unavailable"
    assert error["code"] == 503
    assert error["param"] is None
    assert error["message"].startswith("The engine is currently busy")
    assert engine.metric("vllm:admission_rejections_total", **counter) == before + 1


def test_room_again_after_cancel(engine: RunningEngine) -> None:
    """Cancelled requests no longer count."""
    with contextlib.ExitStack() as full:
        for number in range(QUEUE):
            full.enter_context(engine.stream(engine.long_chat(number)))
    assert eventually(lambda: engine.post(engine.chat(max_tokens=1)).status_code == 200)
