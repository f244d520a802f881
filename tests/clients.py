"""Everybody who reads completions, as a test asks them: one request to a port of loopback, and what was made of it.

A new client is a new function in ``CLIENTS``.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import h11
import httpx
from prometheus_client import CollectorRegistry

from harness.adapters.stream import ChatStream
from harness.load.attempt import Attempt
from harness.load.connections import Connections
from harness.load.exchange import Call, Exchange, http_request
from harness.load.job import Service
from harness.load.prompts import Prompt
from harness.load.resolver import Pinned
from harness.load.schedule import Arrival
from harness.model.scenario import ClientLimits, Cohort
from harness.model.stream import CompletionReader
from harness.model.topology import Component, Endpoint, Link, Stack, Target, Topology
from harness.probes import ask, path, question
from stack.exporter.readiness import Readiness
from stack.exporter.synthetic import Synthetic
from stack.models import Question
from stack.stacks import external
from tests.wire import ADDRESS, Wire

#: Every answer of a test comes to its end by itself; only a client that waits for something else meets this.
DEADLINE_S = 30.0
ALL = frozenset({"subtype", "whole", "ttft", "text", "tokens", "events", "error"})
#: Of answers that have no head: nobody reads them as a completion.
NO_ANSWER = "no answer"


@dataclass(frozen=True)
class Seen:
    """What a client made of an answer, in its own words; ``tells`` names what it tells besides the outcome."""

    outcome: str
    tells: frozenset[str] = frozenset()
    subtype: str | None = None
    whole: bool | None = None
    ttft: bool | None = None
    text: str | None = None
    tokens: int | None = None
    events: int | None = None
    error: dict[str, str | None] | None = None


def pure(wire: Wire, stream: bool = True) -> Seen:
    """The reader itself, without a network."""
    reader = CompletionReader(stream)
    reader.head(wire.status, wire.header("content-type"), wire.header("content-encoding"))
    for number, piece in enumerate(wire.body):
        reader.feed(piece, float(number))
    reader.end(None if wire.ends == "message" else wire.ends)
    return of_reader(reader)


def of_reader(reader: CompletionReader) -> Seen:
    """What a reader says."""
    outcome, subtype = reader.outcome()
    answer, error = reader.answer, reader.error
    told = None if error is None else _error(error.type, error.code, error.message)
    return Seen(
        outcome, ALL, subtype, reader.complete, answer.first_content_s is not None,
        answer.text, answer.output_tokens, answer.content_events, told,
    )  # fmt: skip


def attempt(port: int, stream: bool = True) -> tuple[Attempt, str]:
    """One attempt of the load generator, as it records it, and the answer's text."""
    cohort = Cohort(name="chat", stream=stream)
    arrival = Arrival("r", 0.0, cohort, "user-001", Prompt("hi", None), random.Random(1))
    row = Attempt(
        request_id="r", attempt=1, user_id="user-001", cohort="chat", deployment="d", intended_mono_s=0.0,
        start_mono_s=time.monotonic(), max_tokens=8, prompt_chars=3, prompt_hash="h",
    )  # fmt: skip
    span = f"{DEADLINE_S:g}s"
    limits = ClientLimits.model_validate(dict.fromkeys(("connect", "first_token", "idle", "total"), span))
    connections = Connections(Service(name="test", port=port, address=ADDRESS))
    call = Call(arrival, http_request("/v1/chat/completions", {"Host": "test"}, b"{}"), limits, None)
    exchange = Exchange(call, row, Pinned(ADDRESS), connections, row.start_mono_s)
    exchange.run()
    connections.close()
    return row, exchange.answer.text


def load(port: int, stream: bool = True) -> Seen:
    """What the load generator makes of an answer."""
    row, text = attempt(port, stream)
    return Seen(
        row.outcome, ALL - ({"whole"} if stream else {"whole", "ttft", "events"}), row.subtype, None,
        row.ttft_ms is not None, text, row.output_tokens, row.content_events,
        _error(row.error_type, row.error_code, row.error_message),
    )  # fmt: skip


def cancel_wave(port: int) -> Seen:
    """A stream of a wave that nobody cancels."""
    heard: list[float] = []
    chat = ChatStream(ADDRESS, port, lambda: heard.append(time.monotonic()))

    async def read() -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                await chat.send({}, {"stream": True})
                await chat.read()
        except (ConnectionError, h11.RemoteProtocolError):
            pass
        finally:
            chat.hang_up("fin")

    asyncio.run(read())
    if not chat.reader.status:
        return Seen(NO_ANSWER)
    seen = of_reader(chat.reader)
    assert seen.events == len(heard)
    return replace(seen, tells=ALL - {"subtype"})  # how the connection broke is nobody's matter


def synthetic_question(port: int) -> Seen:
    """A question of the eval set, through a gateway at that port."""
    gateway = Component("gateway-a", "gateway", ADDRESS, {"http": port})
    replica = Component("replica-1", "replica", ADDRESS, {"http": port})
    probe = path.PathProbe(Topology(Stack("questions", (gateway, replica), ())), "key", "model")
    reply = asyncio.run(question.ask(probe, "gateway-a", "replica-1", Question("q", "a"), DEADLINE_S))
    outcome = "broken_stream" if reply.outcome == "broken" else reply.outcome
    return Seen(outcome, frozenset({"ttft"}), ttft=reply.ttft_ms is not None)


def link_proof(port: int) -> Seen:
    """A crossing of a link."""
    probe = _probe(port)
    assert probe.topology.target is not None
    sample = asyncio.run(probe.straight(probe.topology.target, DEADLINE_S))
    outcome = "broken_stream" if sample.outcome == "broken" else sample.outcome
    return Seen(outcome, frozenset({"whole"}), whole=sample.outcome == "ok")


def fault_question(port: int, stream: bool = True) -> Seen:
    """A request of any size and shape."""
    link = Link("client-to-gateway-a", "client", "gateway-a", ADDRESS, port, port)
    body = ask.Ask(json.dumps({"stream": stream}).encode())
    reply = asyncio.run(ask.send(_probe(port), link, body, DEADLINE_S))
    return Seen(
        reply.outcome, frozenset({"whole", "tokens", "error"}), whole=reply.outcome == "whole",
        tokens=reply.output_tokens, error=_error(reply.type, reply.code, reply.message),
    )  # fmt: skip


def exporter(port: int) -> Seen:
    """The exporter's synthetic generation, which is not streamed."""
    registry = CollectorRegistry()

    async def generate() -> None:
        url = f"http://{ADDRESS}:{port}"
        async with httpx.AsyncClient(base_url=url, timeout=None, verify=False, trust_env=False) as client:
            await Synthetic(registry, Readiness(fall=2)).ask(client, "replica-1", "drillyard", DEADLINE_S)

    asyncio.run(generate())
    good = registry.get_sample_value("drillyard_synthetic_ok", {"replica": "replica-1"})
    return Seen("ok" if good else "not ok")


#: Readers of streams, and of answers in one piece.
STREAMS: dict[str, Callable[[int], Seen]] = {
    "load": load,
    "cancel wave": cancel_wave,
    "synthetic question": synthetic_question,
    "link proof": link_proof,
    "fault's question": fault_question,
}
WHOLES: dict[str, Callable[[int], Seen]] = {
    "load": lambda port: load(port, stream=False),
    "fault's question": lambda port: fault_question(port, stream=False),
    "exporter": exporter,
}


def _probe(port: int) -> path.PathProbe:
    target = Target(Endpoint("http", ADDRESS, port, address=ADDRESS))
    return path.PathProbe(Topology(external.stack(target), target=target), "key", "model")


def _error(type: str | None, code: str | None, message: str | None) -> dict[str, str | None] | None:
    told = {"type": type, "code": code, "message": message}
    return told if any(told.values()) else None
