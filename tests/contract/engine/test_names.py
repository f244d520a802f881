"""Model names, request ids and the small routes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.engine.running import RunningEngine


def test_any_served_name_may_be_asked_and_the_first_answers(engine: RunningEngine) -> None:
    """Requests to the deployment learn from each answer which version gave it."""
    for asked in ("drillyard", engine.version):
        body = {**engine.chat(max_tokens=2), "model": asked}
        assert engine.post(body).json()["model"] == engine.version
        assert {event["model"] for event in engine.events(body) if isinstance(event, dict)} == {engine.version}


def test_unknown_model(engine: RunningEngine) -> None:
    """404 with ``param`` model."""
    answer = engine.post({**engine.chat(), "model": "nobody"})
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("NotFoundError", "model", 404)
    assert "`nobody` does not exist" in error["message"]


def test_models_lists_all_names(engine: RunningEngine) -> None:
    """One card per name, with the model length."""
    answer = engine.client.get("/v1/models").json()
    assert answer["object"] == "list"
    assert [card["id"] for card in answer["data"]] == [engine.version, "drillyard"]
    assert {card["max_model_len"] for card in answer["data"]} == {engine.max_model_len}


def test_one_model_has_no_path_of_its_own(engine: RunningEngine) -> None:
    """The gateways answer for it, from the list. Once engines do, the gateways need not."""
    assert engine.client.get("/v1/models/drillyard").status_code == 404


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({}, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        ({"tool_choice": "auto"}, '"auto" tool choice requires'),
        ({"tool_choice": "required"}, 'tool_choice="required" requires --tool-call-parser to be set'),
        (
            {"tool_choice": {"type": "function", "function": {"name": "look"}}},
            'tool_choice=function "look" requires --tool-call-parser to be set',
        ),
    ],
)
def test_tools_need_a_parser(engine: RunningEngine, choice: dict[str, Any], says: str) -> None:
    """Replicas are started without one: tools may be described, and not be called."""
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
    refused = engine.post(engine.chat(max_tokens=2, tools=tools, **choice))
    assert refused.status_code == 400
    assert says in refused.json()["error"]["message"]
    described = engine.post(engine.chat(max_tokens=2, tools=tools, tool_choice="none"))
    assert described.status_code == 200
    assert described.json()["choices"][0]["message"]["content"]


def test_request_id_is_echoed_and_used(engine: RunningEngine) -> None:
    """``X-Request-Id`` comes back and is the base of the answer's id."""
    answer = engine.post(engine.chat(max_tokens=1), headers={"X-Request-Id": "drill-42"})
    assert answer.headers["x-request-id"] == "drill-42"
    assert answer.json()["id"] == "chatcmpl-drill-42"


def test_request_id_is_made_where_none_is_given(engine: RunningEngine) -> None:
    """Each answer has one, and no two the same."""
    first, second = (engine.post(engine.chat(max_tokens=1)).headers["x-request-id"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("path", ["/health", "/version", "/metrics", "/v1/models"])
def test_small_routes(engine: RunningEngine, path: str) -> None:
    """They answer 200; health has no body."""
    answer = engine.client.get(path)
    assert answer.status_code == 200
    assert (answer.content == b"") is (path == "/health")


def test_errors_of_routing(engine: RunningEngine) -> None:
    """A wrong path and a wrong method are *not* in the shape of other errors: who reads ``error`` has to know."""
    for path, status, detail in (("/nothing", 404, "Not Found"), ("/v1/chat/completions", 405, "Method Not Allowed")):
        answer = engine.client.get(path)
        assert answer.status_code == status
        assert answer.json() == {"detail": detail}
