"""SIGTERM with streams in flight."""

from __future__ import annotations

from tests.contract.engine.running import RunningEngine, finish_reasons


def test_sigterm_aborts_streams_politely(doomed_engine: RunningEngine) -> None:
    """The trap: the stream that began with 200 ends in good order, with finish_reason abort and [DONE]."""
    with doomed_engine.stream(doomed_engine.long_chat()) as stream:
        events = iter(stream)
        for _ in range(5):
            next(events)
        doomed_engine.process.terminate()
        rest = list(events)
    assert finish_reasons(rest) == ["abort"]
    assert rest[-1] == "[DONE]"
    assert doomed_engine.process.wait(30) == 0
