"""SIGTERM with streams in flight.

What vLLM 0.32 did in seven tries, each inside an answer that had begun with 200: an error event and [DONE] (3), or
nothing at all until the client gave up (4); its source also has finish_reason abort. The API process asks the engine
core to end and kills it in the same moment, so it is a race. None of it is a good end: that is the contract.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.engine.running import Event, RunningEngine, finish_reasons, running
from tests.waiting import eventually

GIVE_UP_S = {"sim": 1, "vllm": 3}


def interrupt(engine: RunningEngine) -> tuple[list[Event | str], bool]:
    """SIGTERM in the middle of a stream: (the events after it, whether the stream ended by itself)."""
    rest: list[Event | str] = []
    with engine.stream(engine.long_chat(), timeout=GIVE_UP_S[engine.kind]) as stream:
        events = iter(stream)
        for _ in range(5):
            next(events)
        engine.process.send_signal(signal.SIGTERM)
        try:
            rest.extend(events)
        except (httpx.ReadTimeout, httpx.RemoteProtocolError):
            return rest, False
    return rest, True


def test_sigterm_ends_no_stream_well(doomed_engine: RunningEngine) -> None:
    """An end, if there is one, is [DONE] behind finish_reason abort or an error: [DONE] alone proves nothing."""
    rest, ended = interrupt(doomed_engine)
    errors = [event for event in rest if isinstance(event, dict) and "error" in event]
    chunks = [event for event in rest if isinstance(event, dict) and "error" not in event]
    assert not set(finish_reasons(chunks)) & {"stop", "length"}
    if ended:
        assert rest[-1] == "[DONE]"
        assert finish_reasons(chunks) == ["abort"] or [error["error"]["code"] for error in errors] == [500]
    # It waits for its clients to leave, and then says that all was well.
    assert doomed_engine.process.wait(30) == 0


@pytest.fixture
def doomed_simulator(tmp_path: Path) -> Iterator[RunningEngine]:
    """A simulator that a test ends."""
    with running("sim", tmp_path / "log") as simulator:
        yield simulator


def test_on_sigterm_abort(doomed_simulator: RunningEngine) -> None:
    """The polite one: finish_reason abort, [DONE]."""
    rest, ended = interrupt(doomed_simulator)
    assert ended
    assert finish_reasons(rest) == ["abort"]
    assert rest[-1] == "[DONE]"


def test_on_sigterm_error(doomed_simulator: RunningEngine) -> None:
    """The middle one: an error event, [DONE]."""
    doomed_simulator.behave(on_sigterm="error")
    rest, ended = interrupt(doomed_simulator)
    assert ended
    assert rest[-2]["error"]["code"] == 500  # type: ignore[index]
    assert rest[-1] == "[DONE]"


def test_on_sigterm_hang(doomed_simulator: RunningEngine) -> None:
    """The silent one: the stream stands still, and the process stays as long as the client does."""
    doomed_simulator.behave(on_sigterm="hang")
    rest, ended = interrupt(doomed_simulator)
    assert not ended
    assert "[DONE]" not in rest
    assert doomed_simulator.process.wait(30) == 0


def test_drain(tmp_path: Path) -> None:
    """What ends within the drain time ends well; what comes meanwhile is turned away inside a 200."""
    with (
        running("sim", tmp_path / "log", "--shutdown-timeout", "10") as simulator,
        simulator.stream(simulator.chat(max_tokens=420, ignore_eos=True)) as stream,
    ):
        events = iter(stream)
        next(events)
        simulator.process.send_signal(signal.SIGTERM)

        def turned_away() -> bool:
            return finish_reasons(simulator.events(simulator.chat(max_tokens=1))) == ["abort"]

        assert eventually(turned_away, 2.5)  # while the stream lasts
        assert finish_reasons(list(events)) == ["length"]
        assert simulator.process.wait(30) == 0
