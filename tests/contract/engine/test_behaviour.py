"""Every switch of the simulator does what it says, while it is on and no longer."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from stack.models import questions
from stack.simulator.behaviour import Behaviour
from tests.contract.engine.running import FLAGS, QUEUE, RunningEngine, finish_reasons, running, texts
from tests.waiting import eventually

FAST = ("--tokens-per-second", "400", "--ttft-ms", "10")


@pytest.fixture(scope="module")
def started_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """One quick simulator for this file."""
    with running("sim", tmp_path_factory.mktemp("simulator") / "log", *FLAGS, *FAST) as simulator:
        yield simulator


@pytest.fixture
def simulator(started_simulator: RunningEngine) -> Iterator[RunningEngine]:
    """A healthy, idle simulator; healthy again afterwards."""
    yield started_simulator
    started_simulator.client.delete("/simulator/behaviour").raise_for_status()
    assert eventually(started_simulator.is_idle)


def duration_s(simulator: RunningEngine, tokens: int = 40) -> float:
    """How long one answer of so many tokens takes."""
    begin_s = time.monotonic()
    simulator.post(simulator.chat(max_tokens=tokens, ignore_eos=True)).raise_for_status()
    return time.monotonic() - begin_s


def test_switches_are_shown_and_reset(simulator: RunningEngine) -> None:
    """GET shows what POST set; POST leaves the others; DELETE brings health back."""
    simulator.behave(slow_factor=3)
    simulator.behave(wrong_model="v9@x")
    shown = simulator.client.get("/simulator/behaviour").json()
    assert (shown["slow_factor"], shown["wrong_model"]) == (3, "v9@x")
    healthy = simulator.client.delete("/simulator/behaviour").json()
    assert healthy == Behaviour().model_dump()


@pytest.mark.parametrize("fields", [{"slow": 5}, {"slow_factor": 0}, {"error_status": 200}, ["hang"]])
def test_unknown_switch_is_refused(simulator: RunningEngine, fields: object) -> None:
    """A typing error must not pass for a defect that a drill did not notice."""
    assert simulator.client.post("/simulator/behaviour", json=fields).status_code == 400
    assert simulator.client.get("/simulator/behaviour").json() == Behaviour().model_dump()


def test_slow_factor(simulator: RunningEngine) -> None:
    """Five times as slow takes several times as long."""
    healthy_s = duration_s(simulator)
    simulator.behave(slow_factor=5)
    assert duration_s(simulator) > 3 * healthy_s


def test_slow_warmup(simulator: RunningEngine) -> None:
    """Slow for the given time after the switch, then as before."""
    healthy_s = duration_s(simulator)
    simulator.behave(slow_warmup_s=0.5)
    assert duration_s(simulator) > 3 * healthy_s
    assert eventually(lambda: duration_s(simulator) < 2 * healthy_s)


def test_hang_is_the_deaf_replica(simulator: RunningEngine) -> None:
    """Healthy by every usual sign: 200, headers at once, gauges at 0; and no event until the hang ends."""
    simulator.behave(hang=True)
    with simulator.stream(simulator.chat(max_tokens=3, ignore_eos=True)) as stream:
        assert stream.response.status_code == 200
        assert simulator.client.get("/health").status_code == 200
        assert simulator.is_idle()
        simulator.behave(hang=False)
        assert finish_reasons(list(stream)) == ["length"]


def test_hang_gives_no_event(simulator: RunningEngine) -> None:
    """Nothing comes out of a hanging engine, also not from a stream that had begun."""
    with simulator.stream(simulator.long_chat(), timeout=1) as stream:
        events = iter(stream)
        next(events)
        simulator.behave(hang=True)
        with pytest.raises(httpx.ReadTimeout):
            list(events)


def test_never_ready(simulator: RunningEngine) -> None:
    """503 on every route but the switches."""
    simulator.behave(never_ready=True)
    for path in ("/health", "/v1/models", "/metrics"):
        assert simulator.client.get(path).status_code == 503
    assert simulator.post(simulator.chat(max_tokens=1)).status_code == 503


def test_behaviour_from_the_start(tmp_path: Path) -> None:
    """A behaviour can be given on the command line."""
    with running("sim", tmp_path / "log", "--behaviour", json.dumps({"wrong_model": "v9@x"})) as simulator:
        assert simulator.post(simulator.chat(max_tokens=1)).json()["model"] == "v9@x"


def test_startup_delay(simulator: RunningEngine) -> None:
    """As after a restart: 503 for a while, then ready by itself."""
    simulator.behave(startup_delay_s=0.3)
    assert simulator.client.get("/health").status_code == 503
    assert eventually(lambda: simulator.client.get("/health").status_code == 200)
    simulator.behave(startup_delay_s=60)
    simulator.client.delete("/simulator/behaviour").raise_for_status()
    assert simulator.client.get("/health").status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_error_status(simulator: RunningEngine, stream: bool) -> None:
    """Generation requests get the status in vLLM's error shape; the other routes are well."""
    simulator.behave(error_status=500)
    answer = simulator.post(simulator.chat(max_tokens=1, stream=stream))
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == 500
    assert simulator.client.get("/health").status_code == 200


def test_cut_after_events(simulator: RunningEngine) -> None:
    """The connection breaks after exactly so many events: a client sees a protocol error, and KV is freed."""
    simulator.behave(cut_after_events=4)
    events = []
    with (
        pytest.raises(httpx.RemoteProtocolError),
        simulator.stream(simulator.chat(max_tokens=20, ignore_eos=True)) as stream,
    ):
        events.extend(stream)  # keeps what came before the break
    assert len(events) == 4
    assert finish_reasons(events) == []
    assert eventually(simulator.is_idle)
    assert simulator.reset_prefix_cache()


def test_inband_error(simulator: RunningEngine) -> None:
    """200, some events, then an error event and a polite end."""
    simulator.behave(inband_error_after_events=3)
    events = simulator.events(simulator.chat(max_tokens=20, ignore_eos=True))
    assert events[-1] == "[DONE]"
    assert events[-2]["error"]["code"] == 500
    assert len(events) == 5


def test_silent_truncation(simulator: RunningEngine) -> None:
    """Half of the answer, an orderly end of the connection, neither finish_reason nor [DONE]."""
    body = simulator.chat(max_tokens=20, ignore_eos=True)
    whole = texts(simulator.events(body))
    simulator.behave(silent_truncation=True)
    events = simulator.events(body)
    assert whole.startswith(texts(events))
    assert 0 < len(texts(events)) < len(whole)
    assert finish_reasons(events) == []
    assert "[DONE]" not in events


def test_short_answers(simulator: RunningEngine) -> None:
    """Half of the answer, finished as a whole one is: stop, usage, [DONE]. Nothing but the text tells."""
    item = max(questions(), key=lambda item: len(item.answer))
    body = simulator.chat(item.question, max_tokens=60)
    whole = texts(simulator.events(body))
    simulator.behave(short_answers=True)
    events = simulator.events(body)
    assert whole.startswith(texts(events))
    assert 0 < len(texts(events)) < len(whole)
    assert finish_reasons(events) == ["stop"]
    assert events[-1] == "[DONE]"


def test_empty_answers(simulator: RunningEngine) -> None:
    """A stream that ends well and says nothing."""
    simulator.behave(empty_answers=True)
    events = simulator.events(simulator.chat(max_tokens=20))
    assert texts(events) == ""
    assert finish_reasons(events) == ["stop"]
    assert simulator.post(simulator.chat()).json()["choices"][0]["message"]["content"] == ""


def test_wrong_answers(simulator: RunningEngine) -> None:
    """Known questions get something else that looks healthy."""
    simulator.behave(wrong_answers=True)
    for item in questions()[:3]:
        events = simulator.events(simulator.chat(item.question, max_tokens=40))
        assert texts(events) not in ("", item.answer)
        assert finish_reasons(events) == ["stop"]


def test_wrong_model(simulator: RunningEngine) -> None:
    """Answers carry the other name; the names that may be asked for stay."""
    simulator.behave(wrong_model="v9@x")
    assert simulator.post(simulator.chat(max_tokens=1)).json()["model"] == "v9@x"
    assert simulator.client.get("/v1/models").json()["data"][0]["id"] == simulator.version


def test_leak_kv_on_cancel(simulator: RunningEngine) -> None:
    """Nothing runs any more, and yet the cache is not empty: usage above 0, no reset."""
    simulator.behave(leak_kv_on_cancel=True)
    cancel(simulator)
    assert eventually(lambda: simulator.metric("vllm:num_requests_running") == 0)
    assert not eventually(simulator.is_idle, 0.3)
    assert not simulator.reset_prefix_cache()


def test_zombie_generation(simulator: RunningEngine) -> None:
    """The cancelled request is generated to its end: tokens go on growing."""
    simulator.behave(zombie_generation=True)
    cancel(simulator, max_tokens=200)
    generated = simulator.metric("vllm:generation_tokens_total")
    assert eventually(lambda: simulator.metric("vllm:generation_tokens_total") > generated + 100)


def test_swallow_503(simulator: RunningEngine) -> None:
    """The refusal that should be 503 becomes an empty success; the counter still moves."""
    simulator.behave(swallow_503=True)
    refused = simulator.metric("vllm:admission_rejections_total")
    with contextlib.ExitStack() as full:
        for number in range(QUEUE):
            full.enter_context(simulator.stream(simulator.long_chat(number)))
        events = simulator.events(simulator.chat(max_tokens=5))
    assert texts(events) == ""
    assert events[-1] == "[DONE]"
    assert simulator.metric("vllm:admission_rejections_total") == refused + 1


def test_no_cap_check(simulator: RunningEngine) -> None:
    """More tokens than the model holds are accepted and generated past its length."""
    body = simulator.chat("water " * 2000, max_tokens=100, ignore_eos=True)
    longer = simulator.chat("water " * 2010, max_tokens=simulator.max_model_len + 1, stream=True, ignore_eos=True)
    simulator.behave(no_cap_check=True)
    assert simulator.post(body).json()["usage"]["total_tokens"] > simulator.max_model_len
    with simulator.stream(longer) as stream:
        assert stream.response.status_code == 200


def cancel(simulator: RunningEngine, **fields: object) -> None:
    """Start a stream and go away after some tokens."""
    with simulator.stream({**simulator.long_chat(), **fields}) as stream:
        events = iter(stream)
        for _ in range(5):
            next(events)
