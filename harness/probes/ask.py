"""One request of any size and shape, sent as a client sends it: who answered, with what, and after how long."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import httpx

from harness.probes.path import CHAT, PathProbe
from harness.record import ANY_REPLICA
from stack.topology import Link

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
    reply, began = _Reading(), time.monotonic()
    try:
        async with (
            asyncio.timeout(deadline_s),
            httpx.AsyncClient(timeout=None, verify=False, trust_env=False) as client,
        ):
            await reply.read(client, _request(path, link, ask))
        outcome = reply.outcome()
    except TimeoutError:
        outcome = "hung"
    except httpx.HTTPError:
        outcome = "cut" if reply.found.status == 200 else "none"
    found = replace(reply.found, outcome=outcome, took_s=time.monotonic() - began)
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
    with path.own.asking(reply.replica or ANY_REPLICA if known else ANY_REPLICA, tokens) as counted:
        counted.got = tokens if known else 0


class _Reading:
    """An answer while it is read, event by event or in one piece."""

    def __init__(self) -> None:
        self.found = Reply("none")
        self._done = False

    def outcome(self) -> str:
        """How it ended, once all has been read."""
        if self.found.status != 200:
            return "refused"
        return "whole" if self._done and self.found.finish_reason else "cut"

    async def read(self, client: httpx.AsyncClient, request: Mapping[str, Any]) -> None:
        async with client.stream("POST", **request) as response:
            headers = response.headers
            layer = "engine" if "X-Drillyard-Replica" in headers else "gateway"
            after = headers.get("Retry-After", "")
            self._note(
                status=response.status_code,
                layer=layer,
                replica=headers.get("X-Drillyard-Replica"),
                retry_after_s=float(after) if after.isdigit() else None,
            )
            if response.status_code != 200:
                self._refusal(await response.aread())
            elif headers.get("Content-Type", "").startswith("text/event-stream"):
                async for line in response.aiter_lines():
                    self._event(line)
            else:
                self._facts(_object(await response.aread()))
                self._done = True

    def _note(self, **found: Any) -> None:
        self.found = replace(self.found, **found)

    def _refusal(self, body: bytes) -> None:
        error = _object(body).get("error")
        if isinstance(error, dict):
            parts = {
                name: None if error.get(name) is None else str(error[name]) for name in ("code", "type", "message")
            }
            self._note(**{**parts, "message": (parts["message"] or "")[:_MESSAGE_CHARS_MAX] or None})

    def _event(self, line: str) -> None:
        if line == "data: [DONE]":
            self._done = True
        elif line.startswith("data: {") and ('"usage":{' in line or '"finish_reason":"' in line):
            self._facts(_object(line.removeprefix("data: ").encode()))

    def _facts(self, data: Mapping[str, Any]) -> None:
        if isinstance(usage := data.get("usage"), dict):
            self._note(prompt_tokens=usage.get("prompt_tokens"), output_tokens=usage.get("completion_tokens"))
        for choice in data.get("choices") or ():
            if choice.get("finish_reason"):
                self._note(finish_reason=choice["finish_reason"])


def _object(text: bytes) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
