"""One question of the eval set, asked of one replica through a gateway: who answered, how well and how quickly."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx

from harness.model.stream import Answer, CompletionReader
from harness.model.topology import Component
from harness.probes import completion
from harness.probes.path import CHAT, PathProbe
from stack import bounded
from stack.models import Question

#: More than the longest answer of the eval set.
TOKENS_MAX = 48
#: A rate is measured over at least so many pieces of an answer; a word or two tell nothing.
PIECES_MIN = 8


def version_of(replica: Component, deadline_s: float = 2.0) -> str | None:
    """The version that a replica says it serves, asked directly; None when it does not answer."""
    try:
        with httpx.Client(trust_env=False) as client:
            listed = bounded.ask(client, "GET", replica.url(path="/v1/models"), deadline_s).json()
        return str(listed["data"][0]["id"])
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return None


@dataclass(frozen=True)
class Reply:
    """What came back. None: it never came to that, or cannot be told."""

    outcome: str  # ok | timeout | broken | http_<status> | an outcome of docs/metrics.md
    version: str | None = None  # as the engine's own answer says
    right: bool = False
    ttft_ms: float | None = None
    tokens_per_s: float | None = None


async def ask(path: PathProbe, gateway: str, replica: str, question: Question, deadline_s: float) -> Reply:
    """Ask ``replica`` through ``gateway``, by the operator's pin. Never raises for network trouble."""
    request = {
        "url": path.topology.component(gateway).url(path=CHAT),
        "headers": {"Authorization": f"Bearer {path.operator_key}", "X-Drillyard-Pin": replica},
        "json": _body(path.deployment, question),
    }
    with path.own.asking(replica, TOKENS_MAX) as own:
        reader, started = CompletionReader(), time.monotonic()
        trouble = await completion.ask(reader, deadline_s, request)
        outcome = trouble or (reader.outcome()[0] if reader.status == 200 else f"http_{reader.status}")
        own.got, own.whole = reader.answer.output_tokens or 0, outcome == "ok"
    return _reply("broken" if trouble == "refused" else outcome, reader.answer, question, started)


def _body(deployment: str, question: Question) -> dict[str, object]:
    return {
        "model": deployment,
        "messages": [{"role": "user", "content": question.question}],
        "max_tokens": TOKENS_MAX,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _reply(outcome: str, answer: Answer, question: Question, started: float) -> Reply:
    ttft_ms = None if answer.first_content_s is None else 1000 * (answer.first_content_s - started)
    rate = None
    if outcome == "ok" and answer.content_events >= PIECES_MIN:
        assert answer.first_content_s is not None and answer.last_content_s is not None  # there was content
        took_s = answer.last_content_s - answer.first_content_s
        rate = (answer.content_events - 1) / took_s if took_s > 0 else None
    right = outcome == "ok" and answer.text.strip() == question.answer
    return Reply(outcome, answer.model, right, ttft_ms, rate)
