"""The synthetic generation, against replicas that do what replicas do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry

from stack.exporter.readiness import Readiness
from stack.exporter.synthetic import Synthetic

GOOD = {
    "choices": [{"message": {"content": "x"}, "finish_reason": "length"}],
    "usage": {"completion_tokens": 1},
}
NONE = {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}], "usage": {"completion_tokens": 0}}
OK, TTFT, FAILURES = (
    "drillyard_synthetic_ok",
    "drillyard_synthetic_ttft_seconds",
    "drillyard_synthetic_failures_total",
)


async def _deaf(request: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def _refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def _answers(status: int, body: object) -> object:
    async def answer(request: httpx.Request) -> httpx.Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield json.dumps(body).encode()

        return httpx.Response(status, headers={"Content-Type": "application/json"}, content=pieces())

    return answer


def ask(*handlers: object) -> CollectorRegistry:
    """The metrics after replica-1 was asked once per handler."""
    registry = CollectorRegistry()
    synthetic = Synthetic(registry, Readiness(fall=2))

    async def run() -> None:
        for handler in handlers:
            transport = httpx.MockTransport(handler)  # type: ignore[arg-type]
            async with httpx.AsyncClient(base_url="http://replica-1", transport=transport) as client:
                await synthetic.ask(client, "replica-1", "drillyard", 0.05)

    asyncio.run(run())
    return registry


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """A sample of replica-1; None when the series does not exist."""
    return registry.get_sample_value(name, {"replica": "replica-1", **labels})


def test_tokens_are_counted_for_whoever_checks_the_replicas_counter() -> None:
    """Two asked for and ended, one of them came."""
    registry = ask(_answers(200, GOOD), _deaf)
    counts = {what: value(registry, f"drillyard_synthetic_tokens_{what}_total") for what in ("asked", "ended", "got")}
    assert counts == {"asked": 2, "ended": 2, "got": 1}


def test_token_within_the_deadline_is_ok_and_timed() -> None:
    """The healthy case."""
    registry = ask(_answers(200, GOOD))
    assert value(registry, OK) == 1
    assert value(registry, TTFT) is not None


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (_deaf, "timeout"),
        (_refused, "connection"),
        (_answers(503, {"error": {}}), "http_503"),
        (_answers(200, NONE), "empty"),
        (_answers(200, {"object": "error", "message": "EngineCore died"}), "protocol"),
        (_answers(200, ["?"]), "protocol"),
    ],
)
def test_every_way_to_fail_is_seen_and_told_apart(handler: object, reason: str) -> None:
    """A deaf replica accepts, and then nothing: only the deadline shows it."""
    registry = ask(handler)
    assert value(registry, OK) == 0
    assert value(registry, FAILURES, reason=reason) == 1


def test_failure_takes_the_old_time_away() -> None:
    """The last good time would look like a quick replica."""
    registry = ask(_answers(200, GOOD), _deaf)
    assert value(registry, TTFT) is None


def test_nothing_is_claimed_before_the_first_answer() -> None:
    """No data is neither 0 nor 1."""
    assert value(ask(), OK) is None
