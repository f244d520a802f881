"""One request of any size and shape, sent as a client sends it: who answered, with what, and after how long."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import httpx

from harness.evidence.record import ANY_REPLICA
from harness.model.server_error import ServerError, retry_after_s
from harness.model.stream import CompletionReader
from harness.model.topology import Link
from harness.probes import completion
from harness.probes.path import CHAT, PathProbe

COMPLETIONS = "/v1/completions"
_MESSAGE_CHARS_MAX = 400


@dataclass(frozen=True)
class Ask:
    """What is sent. ``most_tokens`` is what it can cost at most, should nobody refuse it."""

    body: bytes
    path: str = CHAT
    chunked: bool = False  # without a Content-Length
    most_tokens: int = 0


@dataclass(frozen=True)
class Reply:
    """What came back. ``outcome`` is one of

    ``whole`` (an answer with its end), ``refused`` (any status but 200), ``cut`` (an answer without its end),
    ``none`` (no answer: the connection broke or was refused), ``hung`` (not over by the deadline).
    """

    outcome: str
    took_s: float = 0.0
    status: int | None = None
    layer: str | None = None  # who answered: gateway or engine
    replica: str | None = None
    code: str | None = None  # error.code, error.type, error.message of a JSON error; None where it is none
    type: str | None = None
    message: str | None = None
    retry_after_s: float | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None

    def data(self) -> dict[str, Any]:
        """As an event carries it."""
        return {**asdict(self), "took_s": round(self.took_s, 3)}


async def send(path: PathProbe, link: Link, ask: Ask, deadline_s: float) -> Reply:
    """Send ``ask`` over ``link``, with the operator's key, and wait ``deadline_s`` at most. Never raises for network
    trouble; what it has cost is counted among the harness' own tokens."""
    reader, heads, began = CompletionReader(_is_stream(ask.body)), list[httpx.Response](), time.monotonic()
    trouble = await completion.ask(reader, deadline_s, _request(path, link, ask), head=heads.append)
    found = replace(_reply(reader, trouble, heads), took_s=time.monotonic() - began)
    _count(path, ask, found)
    return found


def _request(path: PathProbe, link: Link, ask: Ask) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {path.operator_key}", "Content-Type": "application/json"}
    return {
        "url": f"http://{link.listen_address}:{link.listen_port}{ask.path}",
        "headers": headers,
        "content": _in_chunks(ask.body) if ask.chunked else ask.body,
    }


async def _in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(body), 4096):
        yield body[begin : begin + 4096]


def _count(path: PathProbe, ask: Ask, reply: Reply) -> None:
    """A refusal has cost nothing, a whole answer what it says, anything else an unknown number."""
    if reply.outcome == "refused":
        return
    known = reply.outcome == "whole" and reply.output_tokens is not None
    tries = 1 + path.topology.gateway_policy.retries
    tokens = reply.output_tokens or 0 if known else ask.most_tokens * tries
    whose = reply.replica if known and reply.replica in path.topology.replicas else ANY_REPLICA
    with path.own.asking(whose, tokens) as counted:
        counted.got = tokens if known else 0


def _is_stream(body: bytes) -> bool:
    """Whether a body, which need not be JSON, requests a stream."""
    try:
        wanted = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(wanted, dict) and wanted.get("stream") is True


def _reply(reader: CompletionReader, trouble: str | None, heads: Sequence[httpx.Response]) -> Reply:
    """The result as a Reply."""
    if not heads:
        return Reply("hung" if trouble == "timeout" else "none")
    headers, answer, error = heads[0].headers, reader.answer, reader.error or ServerError()
    if trouble == "timeout":
        outcome = "hung"
    elif reader.status != 200:
        outcome = "none" if trouble else "refused"
    else:
        outcome = "cut" if trouble or not reader.complete else "whole"
    replica = headers.get("X-Drillyard-Replica")
    return Reply(
        outcome,
        status=reader.status,
        layer="gateway" if replica is None else "engine",
        replica=replica,
        code=error.code,
        type=error.type,
        message=error.message and error.message[:_MESSAGE_CHARS_MAX],
        retry_after_s=retry_after_s(headers.get("Retry-After")),
        finish_reason=answer.finish_reason,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
    )
