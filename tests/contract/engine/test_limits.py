"""What is too long, too many or malformed, and what is silently clamped."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.engine.running import RunningEngine


def error_of(engine: RunningEngine, body: Any, path: str = "/v1/chat/completions") -> dict[str, Any]:
    """The error of a request that is refused with 400."""
    answer = engine.post(body, path)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == 400
    return error


@pytest.mark.parametrize("stream", [False, True])
def test_prompt_too_long(engine: RunningEngine, stream: bool) -> None:
    """400 with ``param``, and as plain JSON even when a stream was asked for."""
    error = error_of(engine, engine.chat("water " * 3000, max_tokens=5, stream=stream))
    assert error["type"] == "BadRequestError"
    assert error["param"] == "input_tokens"
    assert f"maximum context length is {engine.max_model_len} tokens" in error["message"]
    assert error["message"].endswith(f"(parameter=input_tokens, value={engine.max_model_len + 1})")


@pytest.mark.parametrize("over", [1, 100])
def test_token_ids_are_counted_to_the_last(engine: RunningEngine, over: int) -> None:
    """A prompt of token ids is taken where it fits; too long, the refusal names how long it was."""
    body = {"model": "drillyard", "prompt": [7] * (engine.max_model_len + over), "max_tokens": 5}
    error = error_of(engine, body, "/v1/completions")
    assert error["param"] == "input_tokens"
    assert f"maximum context length is {engine.max_model_len} tokens" in error["message"]
    assert f"{engine.max_model_len + over} input tokens" in error["message"]
    fits = engine.post({**body, "prompt": [7] * 200, "ignore_eos": True}, "/v1/completions").json()
    assert fits["usage"] | {"prompt_tokens": 200, "completion_tokens": 5} == fits["usage"]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_more_tokens_than_the_model_holds(engine: RunningEngine, name: str) -> None:
    """Above the model length: 400 that names the field."""
    error = error_of(engine, engine.chat(**{name: engine.max_model_len + 1}))
    assert error["type"] == "BadRequestError"
    assert error["param"] == name
    assert f"{name}={engine.max_model_len + 1} cannot be greater than max_model_len" in error["message"]


@pytest.mark.parametrize("number", [0, -1])
def test_fewer_tokens_than_one(engine: RunningEngine, number: int) -> None:
    """No token at all cannot be asked for."""
    assert error_of(engine, engine.chat(max_tokens=number))["param"] == "max_tokens"


def test_completion_tokens_above_the_model_length(engine: RunningEngine) -> None:
    """The same limit for text completions."""
    body = {"model": "drillyard", "prompt": "Once", "max_tokens": engine.max_model_len + 1}
    assert error_of(engine, body, "/v1/completions")["param"] == "max_tokens"


def test_prompt_and_answer_together_are_clamped(engine: RunningEngine) -> None:
    """Prompt + max_tokens above the model length is no error: the answer ends where the model does."""
    prompt = engine.post(engine.chat("water " * 500, max_tokens=1)).json()["usage"]["prompt_tokens"]
    repeat = int(500 * (engine.max_model_len - 20) / prompt)
    body = engine.chat("water " * repeat, max_tokens=engine.max_model_len, ignore_eos=True)
    usage = engine.post(body).json()["usage"]
    assert usage["prompt_tokens"] > engine.max_model_len / 2
    assert usage["total_tokens"] == engine.max_model_len


def test_text_completion_default(engine: RunningEngine) -> None:
    """16 tokens where a text completion asks for nothing."""
    answer = engine.post({"model": "drillyard", "prompt": "Once", "ignore_eos": True}, "/v1/completions").json()
    assert answer["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize("body", [{}, {"messages": "no list"}, {"messages": [], "max_tokens": "many"}])
def test_malformed_body(engine: RunningEngine, body: dict[str, Any]) -> None:
    """A body that does not fit: 400, type and param of the first problem."""
    error = error_of(engine, body)
    assert error["type"] == "Bad Request"
    assert error["param"].startswith("body.")


def test_no_json(engine: RunningEngine) -> None:
    """A body that is no JSON: 400."""
    answer = engine.client.post(
        "/v1/chat/completions", content=b"{not json", headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "Bad Request"


def test_other_content_type(engine: RunningEngine) -> None:
    """JSON that is not called JSON is refused: `curl -d` alone does not do."""
    answer = engine.client.post("/v1/chat/completions", content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 400
    assert "Unsupported Media Type" in answer.json()["error"]["message"]
