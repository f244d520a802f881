"""The first request to an external target: whatever it answers, a model's name or one sentence comes of it."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest

from harness.model.errors import StackError, UsageError
from harness.model.stream import CompletionReader
from harness.model.topology import CLIENT, TARGET, Endpoint, Link, Stack, Target, Topology
from harness.probes import completion, endpoint
from harness.probes.path import PathProbe, crossed
from tests.listener import listening
from tests.wire import ADDRESS, Wire, server


def answer(body: bytes, status: str = "200 OK", fields: bytes = b"") -> bytes:
    """A whole HTTP answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n".encode() + fields + b"\r\n" + body


def listed(id: Any) -> bytes:
    """A list of models whose first has that id."""
    return answer(json.dumps({"object": "list", "data": [{"id": id}]}).encode())


def asked(says: bytes, key: str | None = None) -> str:
    """The model that is read from what the target says. ``key``: the variable that holds its key."""
    with listening(says) as server:
        service = Endpoint("http", "127.0.0.1", server.port, address="127.0.0.1")
        link = SimpleNamespace(listen_address="127.0.0.1", listen_port=server.port)
        topology = cast(Topology, SimpleNamespace(link_between=lambda *_: link))
        return endpoint.served_model(topology, Target(service, api_key_env=key), deadline_s=5.0)


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        ("404 Not Found", "answers 404: TARGET is what stands before /v1/"),
        ("503 Service Unavailable", "answers 503: it does not list its models now"),
    ],
)
def test_each_refusal_has_its_own_remedy(status: str, remedy: str) -> None:
    """What to do about it depends on what was answered."""
    with pytest.raises(StackError, match=remedy):
        asked(answer(b"{}", status))


REFUSED = pytest.mark.parametrize(
    ("status", "key", "remedy"),
    [
        ("401 Unauthorized", None, "answers 401: none was sent; API_KEY_ENV names the variable that holds the key"),
        ("403 Forbidden", "THEIR_KEY", "answers 403: the variable THEIR_KEY holds no key that it takes"),
    ],
)


@REFUSED
def test_a_key_that_the_list_of_models_refuses_is_the_users_mistake(status: str, key: str | None, remedy: str) -> None:
    """Nothing can be drilled with it."""
    with pytest.raises(UsageError, match="/v1/models " + remedy):
        asked(answer(b"{}", status), key)


def completed(status: int, key: str | None = None, ends: Literal["message", "reset"] = "message") -> None:
    """The question for the key, to a target that answers it so."""
    wire = Wire((b"{}",), status, framing="length", ends=ends)
    with server(lambda: wire) as port:
        target = Target(Endpoint("http", ADDRESS, port, address=ADDRESS), api_key_env=key)
        link = Link("client-to-target", CLIENT, TARGET, ADDRESS, port, port)
        probe = PathProbe(Topology(Stack("external", (), (link,)), target=target), "its-key", "a/model")
        asyncio.run(probe.require_key(target, 30.0))


@REFUSED
def test_a_key_that_a_completion_refuses_is_the_users_mistake(status: str, key: str | None, remedy: str) -> None:
    """Also with MODEL=, where no list is asked for."""
    with pytest.raises(UsageError, match="/v1/chat/completions " + remedy):
        completed(int(status[:3]), key)


@pytest.mark.parametrize("status", [200, 400, 404, 429, 503])
def test_any_other_answer_says_nothing_of_the_key(status: int) -> None:
    """The drill judges it, and no answer at all, too."""
    completed(status)
    completed(status, ends="reset")


@pytest.mark.parametrize("id", ["a/model", "Modell für Ä", "\U0001f600"])
def test_the_first_model_is_asked_for(id: str) -> None:
    """By the name that the target gives it, in any script."""
    assert asked(listed(id)) == id


@pytest.mark.parametrize(
    "says",
    [
        answer(b"[" * 100_000 + b"]" * 100_000),
        answer(b'{"data": [{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}"),
        answer(b"9" * 5000), answer(b"[]"), answer(b"\xff"), answer(b'{"data": {}}'), answer(b'{"data": [7]}'),
        listed("half a \ud800 pair"), listed("control \x1b[2J"), listed("x" * 5000),
        listed(""), listed(None), listed(7), listed({"a": 1}),
    ],
)  # fmt: skip
def test_a_list_without_a_usable_name_is_refused(says: bytes) -> None:
    """No JSON, no list, or a name that neither a request nor a record can hold."""
    with pytest.raises(StackError, match=r"/v1/models lists no model .*: name a model with MODEL=$"):
        asked(says)


@pytest.mark.parametrize(
    "destination", [b"mailto:x", b"http://xn--/", b"http://[::1", b"http://h:x/", b"http://\xff/", b"//", b"/v2"]
)
def test_a_redirect_is_not_followed_wherever_it_leads(destination: bytes) -> None:
    """httpx makes the next request of one that nobody follows, too, and ends with errors of its own."""
    says = answer(b"", "302 Found", b"Location: " + destination + b"\r\n")
    with pytest.raises(StackError, match="/v1/models answers 302"):
        asked(says)
    with listening(says) as server:
        reader = CompletionReader()
        request = {"url": f"http://127.0.0.1:{server.port}/v1/chat/completions", "json": {}}
        assert asyncio.run(completion.ask(reader, 5.0, request)) is None
        assert crossed(reader) == "http_302"
