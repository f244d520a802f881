"""OpenAI's own client against our gateways: what it asks for works, and each failure is the exception that it knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types import Model

from harness.adapters.simulator import Simulator
from harness.model.topology import Topology
from stack import keys
from stack.engines import DEPLOYMENT
from stack.runtimes.process import ProcessRuntime
from stack.stacks.vllm_haproxy import STACK
from tests.integration.gateway_stack import KEYS, GatewayStack
from tests.waiting import until

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
ASK: Any = [{"role": "user", "content": "Say something."}]


def client_of(base_url: str, key: str, **options: Any) -> OpenAI:
    """The client, without retries of its own and without a proxy of the environment."""
    http = openai.DefaultHttpxClient(trust_env=False)
    return OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=30, http_client=http, **options)


@pytest.fixture(scope="module", params=STACK.of("gateway"))
def client(request: pytest.FixtureRequest, sim_stack: ProcessRuntime) -> Iterator[OpenAI]:
    """A user of each gateway of the session's stack."""
    key = keys.load_or_create(sim_stack.folder).users["user-031"]
    with client_of(sim_stack.topology.component(request.param).url(path="/v1"), key) as found:
        yield found


@contextmanager
def behaving(topology: Topology, **switches: Any) -> Iterator[None]:
    """All replicas do that; well again, for the gateways too, afterwards."""
    simulators = [Simulator(topology.component(name).url()) for name in STACK.of("replica")]
    try:
        for simulator in simulators:
            simulator.behave(switches)
        yield
    finally:
        for simulator in simulators:
            simulator.heal()
        ready = [topology.component(name).url(path="/readyz") for name in STACK.of("gateway")]
        for url in ready:
            until(lambda url=url: httpx.get(url, trust_env=False).status_code == 200, 60, f"{url} is ready")


# ── what works ──


def test_chat(client: OpenAI) -> None:
    """One answer in one piece, with its usage."""
    answer = client.chat.completions.create(model=DEPLOYMENT, messages=ASK, max_tokens=12)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 12
    assert answer.model.startswith("v1@")


def test_chat_stream(client: OpenAI) -> None:
    """Pieces as they are made, a finish reason, and the usage that was asked for, last."""
    options: Any = {"include_usage": True}
    stream = client.chat.completions.create(
        model=DEPLOYMENT, messages=ASK, max_completion_tokens=12, stream=True, stream_options=options
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons[-1] in ("stop", "length")
    assert set(reasons[:-1]) == {None}
    assert chunks[-1].usage is not None


def test_completions(client: OpenAI) -> None:
    """The older interface, in one piece and streamed."""
    answer = client.completions.create(model=DEPLOYMENT, prompt="Once upon a time", max_tokens=8)
    assert answer.choices[0].text
    stream = client.completions.create(model=DEPLOYMENT, prompt="Once upon a time", max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == answer.choices[0].text


def test_tools(client: OpenAI) -> None:
    """They may be described; to have them called, a replica would need a parser, and the refusal says so."""
    answer = client.chat.completions.create(
        model=DEPLOYMENT, messages=ASK, max_tokens=8, tools=TOOLS, tool_choice="none"
    )
    assert answer.choices[0].message.content
    assert not answer.choices[0].message.tool_calls
    with pytest.raises(openai.BadRequestError, match="--tool-call-parser"):
        client.chat.completions.create(model=DEPLOYMENT, messages=ASK, max_tokens=8, tools=TOOLS)


def card(model: Model) -> dict[str, object]:
    """What both replicas say alike."""
    return model.model_dump(exclude={"created"})


def test_models(client: OpenAI) -> None:
    """All of them, and each by its name: the same card, but for its age, which is each replica's own."""
    listed = client.models.list().data
    assert DEPLOYMENT in {model.id for model in listed}
    for model in listed:
        assert card(client.models.retrieve(model.id)) == card(model)


# ── what does not ──


def test_a_model_that_is_not_there(client: OpenAI) -> None:
    """404, whether it is looked up or asked; a name with a slash is a name."""
    for name in ("nobody", "some/body"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve(name)
        assert caught.value.code == "model_not_found"
        assert name in caught.value.message
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.chat.completions.create(model="nobody", messages=ASK)
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model=DEPLOYMENT, input="x")
    assert caught.value.code == "unknown_path"


@pytest.mark.parametrize("call", [lambda c: c.models.list(), lambda c: c.models.retrieve(DEPLOYMENT)])
def test_a_wrong_key(client: OpenAI, call: Callable[[OpenAI], object]) -> None:
    """401, with the request id that the gateway's log has."""
    with pytest.raises(openai.AuthenticationError) as caught:
        call(client.with_options(api_key="sk-somebody-elses"))
    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id == caught.value.body["request_id"]  # type: ignore[call-overload,index]


def test_what_is_not_allowed(client: OpenAI) -> None:
    """403: to choose a replica is the operator's."""
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(model=DEPLOYMENT, messages=ASK, extra_headers={"X-Drillyard-Pin": "replica-1"})
    assert caught.value.code == "pin_forbidden"


def test_too_much(client: OpenAI) -> None:
    """400 for tokens, by name and with the limit; 413 for bytes."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=DEPLOYMENT, messages=ASK, max_tokens=1_000_000)
    assert caught.value.code == "max_tokens_too_large"
    assert "1024" in caught.value.message
    with pytest.raises(openai.APIStatusError) as large:
        client.chat.completions.create(model=DEPLOYMENT, messages=[{"role": "user", "content": "x" * 70_000}])
    assert large.value.status_code == 413


def test_too_often(gateway_stack: Callable[..., GatewayStack]) -> None:
    """429 once the key's tokens are used, with the time after which to ask again."""
    found = gateway_stack(tokens_per_minute=20)
    url = found.topology.component("gateway-a").url(path="/v1")
    with client_of(url, KEYS.users["user-001"]) as client:
        client.chat.completions.create(model=DEPLOYMENT, messages=ASK, max_tokens=16)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model=DEPLOYMENT, messages=ASK, max_tokens=16)
        assert caught.value.code == "tokens_per_minute"
        assert int(caught.value.response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("status", [500, 503])
def test_replicas_that_fail(client: OpenAI, sim_stack: ProcessRuntime, status: int) -> None:
    """Whatever is 5xx is the server's error, with its status."""
    with behaving(sim_stack.topology, error_status=status), pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=DEPLOYMENT, messages=ASK, max_tokens=8)
    assert caught.value.status_code == status
    assert caught.value.message


def test_no_replica(client: OpenAI, gateway_stack: Callable[..., GatewayStack]) -> None:
    """503 from the gateway itself, in a shape that the client reads."""
    found = gateway_stack()
    for replica in found.replicas.values():
        replica.healthy = False
    for name in found.replicas:
        until(lambda name=name: not found.server_up(name), 60, f"{name} is out")
    with client_of(found.topology.component("gateway-a").url(path="/v1"), KEYS.users["user-001"]) as asking:
        for call in (asking.models.list, lambda: asking.models.retrieve(DEPLOYMENT)):
            with pytest.raises(openai.InternalServerError) as caught:
                call()
            assert caught.value.status_code == 503
            assert caught.value.code == "no_replica_free"


def test_an_error_in_the_stream(client: OpenAI, sim_stack: ProcessRuntime) -> None:
    """After 200 and some pieces: an exception, and not the end of an answer."""
    pieces = []
    with behaving(sim_stack.topology, inband_error_after_events=3), pytest.raises(openai.APIError) as caught:
        pieces += list(client.chat.completions.create(model=DEPLOYMENT, messages=ASK, max_tokens=12, stream=True))
    assert not isinstance(caught.value, openai.APIStatusError)
    assert caught.value.message


def test_too_slow(client: OpenAI, sim_stack: ProcessRuntime) -> None:
    """The client's own patience ends first."""
    with behaving(sim_stack.topology, slow_factor=40), pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(model=DEPLOYMENT, messages=ASK, max_tokens=100)


def test_nobody_there(sim_stack: ProcessRuntime) -> None:
    """A port that nobody listens on."""
    gateway = sim_stack.topology.component("gateway-a")
    with client_of(f"http://{gateway.address}:1/v1", "sk-x") as client, pytest.raises(openai.APIConnectionError):
        client.models.list()
