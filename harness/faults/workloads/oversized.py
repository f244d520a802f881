"""Requests that ask for too much, each in another way, sent one after the other while users chat.

Nothing is broken by hand here. What came of each is told as an event ``ask``.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.faults.base import FaultContext, Healing, Proof, fault_id
from harness.model.errors import FaultError
from harness.model.journal import Undo
from harness.model.options.oversized import Options
from harness.model.topology import CLIENT, GatewayPolicy, Topology
from harness.probes.ask import COMPLETIONS, Ask, send
from harness.probes.engine import kv_tokens
from harness.probes.path import CHAT, PathSample

#: What there is to take back of requests that have ended: nothing.
UNDO_NOTHING = "nothing_stays"
#: A word that is one token or more in any vocabulary.
_WORD = "water "
#: How long an ordinary request may take that shows that the gateway still serves.
ORDINARY_S = 10.0
#: How long service may take to be back once the asks have ended, as after any other fault.
HEALED_WITHIN_S = 120.0


@dataclass(frozen=True)
class Oversized:
    """One way to ask for too much. A refusal has to name all of ``names``: the limit, and what was asked."""

    name: str
    ask: Ask
    names: tuple[str, ...]


class OversizedAsks:
    """All ways of ``asks`` through one gateway, over the link that its clients use."""

    type = "oversized"
    expected_disruptions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, phase: str, on: str, options: Any) -> None:
        self.id, self.phase, self.on = fault_id(phase, self.type, on), phase, on
        self.options: Options = options
        self.before: PathSample | None = None
        self.asks: tuple[Oversized, ...] = ()

    @staticmethod
    def targets(topology: Topology) -> list[str]:
        """The gateways; nothing of somebody else's."""
        return list(topology.gateways)

    @staticmethod
    def counts(options: Options, on: str, topology: Topology) -> dict[str, Any]:
        """Every way, once. Their names do not depend on the size of the KV cache."""
        return {"asks": [one.name for one in asks(topology.gateway_policy, topology.max_model_len, 1)]}

    def undo(self) -> Undo:
        """What was asked ends with the connection that it was asked on."""
        return Undo(self.id, UNDO_NOTHING, {}, self.phase)

    async def measure(self, context: FaultContext) -> None:
        """An ordinary request is answered; and how large the KV cache is, to ask for more than that."""
        self.before = await context.path.through(self.on, ORDINARY_S)
        if self.before.outcome != "ok":
            raise FaultError(f"{self.on} does not serve before the fault ({self.before.describe()})")
        cache = await kv_tokens(context.topology.component(context.topology.replicas[0]))
        self.asks = asks(context.topology.gateway_policy, context.topology.max_model_len, cache)

    async def run(self, context: FaultContext) -> Proof:
        """Ask everything. The effect is that it was asked: that each of them reached somebody who answered."""
        before = self.before.describe() if self.before else ""
        link = context.topology.link_between(CLIENT, self.on)
        silent = []
        for number, one in enumerate(self.asks):
            began = time.monotonic()
            reply = await send(context.path, link, one.ask, self.options.deadline)
            told = {"name": one.name, "names": list(one.names), "number": number, **reply.data()}
            context.tell("ask", fault=self.id, phase=self.phase, on=self.on, must="be refused", **told)
            if reply.outcome == "none":
                silent.append(one.name)
            await asyncio.sleep(max(0.0, began + self.options.every - time.monotonic()))
        seen = f"{len(self.asks) - len(silent)} of {len(self.asks)} oversized requests reached somebody"
        if len(silent) == len(self.asks) or not self.asks:
            return Proof(False, f"the fault had no effect: nobody took an oversized request at {self.on}", before, seen)
        return Proof(True, f"{len(self.asks)} oversized requests were sent to {self.on}", before, seen)

    async def verify_healed(self, context: FaultContext) -> Proof:
        """An ordinary request is answered as before."""
        return await serves_again(context, self.on, self.before)


async def serves_again(context: FaultContext, gateway: str, before: PathSample | None) -> Proof:
    """Send ordinary requests through ``gateway`` until one is answered, for two minutes at most.

    Nothing can be left: each ask has ended before this, with its connection. A request that meets a full queue meets
    what the asks have piled up, or a slow machine.
    """

    async def back(patience_s: float) -> tuple[bool, str]:
        after = await context.path.through(gateway, patience_s)
        return after.outcome == "ok", f"an ordinary request through {gateway}: {after.describe()}"

    async def left() -> str:
        return ""

    done = f"an ordinary request through {gateway} is answered"
    return await Healing(left, back, done, before.describe() if before else "", HEALED_WITHIN_S, ORDINARY_S).proof()


def asks(policy: GatewayPolicy, model_len: int, kv_cache_tokens: int) -> tuple[Oversized, ...]:
    """Every way to ask for too much that is known, with the limit and the value that a refusal has to name."""
    cap, over = policy.chat_max_tokens, policy.chat_max_tokens + 1
    body_max, too_long = policy.body_bytes_max, chat(_WORD * (model_len + 200), max_tokens=8)
    padded = _json(chat(_WORD, max_tokens=8, padding="x" * (body_max - len(_json(chat(_WORD, max_tokens=8))))))
    return (
        _way("a body over the limit", padded, str(body_max), str(len(padded))),
        _way("a body without a length", Ask(padded, chunked=True, most_tokens=8), str(body_max), "Content-Length"),
        _way("max_tokens over the cap", chat(max_tokens=over), str(cap), str(over)),
        _way("max_completion_tokens over the cap", chat(max_completion_tokens=over), str(cap), str(over)),
        _way("both, the small one first", chat(max_tokens=1, max_completion_tokens=over), str(cap), str(over)),
        _way("after a long prompt", chat("x" * 20_000, max_tokens=over), str(cap), str(over)),
        _way("as a string", chat(max_tokens=str(over)), str(cap), str(over)),
        _way("with a fraction", chat(max_tokens=float(over)), str(cap), f"{over}.0"),
        _way("with an exponent", _with_field(b'"max_tokens":1e5'), str(cap), "1e5"),
        _way("as a list", chat(max_tokens=[over]), str(cap), str(over)),
        _way("a huge number", chat(max_tokens=10**30), str(cap), "1" + 30 * "0"),
        _way("twice, large and small", _with_field(b'"max_tokens":%d,"max_tokens":1' % over), "max_tokens", "twice"),
        _way("twice, small and large", _with_field(b'"max_tokens":1,"max_tokens":%d' % over), "max_tokens", "twice"),
        _way("an escaped key", _with_field(b'"max\\u005ftokens":%d' % over), str(cap), str(over)),
        _way("in UTF-16", _json(chat(max_tokens=over)).decode().encode("utf-16"), "UTF-8"),
        _way("n answers", chat(max_tokens=cap // 2, n=4), str(cap), "4 answers"),
        _way("n answers of any length", chat(n=4), str(cap), "4 answers"),
        _way("a batch of prompts", completion([_WORD] * 4, max_tokens=cap // 2), str(cap), "4 answers"),
        _way("nested too deeply", _with_field(b'"x":' + b"[" * 500 + b"]" * 500), "64", "65"),
        _way("a prompt over the model length", too_long, str(model_len), str(model_len + 1)),
        _of_tokens("token ids over the model length", model_len + 100, policy, model_len),
        _of_tokens("more than the whole KV cache", kv_cache_tokens + 1, policy, model_len),
    )  # fmt: skip


def chat(content: str = "Say something.", **fields: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": "drillyard", "messages": [{"role": "user", "content": content}], "temperature": 0, **fields}


def completion(prompt: Any, **fields: Any) -> dict[str, Any]:
    """A completions request."""
    return {"model": "drillyard", "prompt": prompt, "temperature": 0, **fields}


def _way(name: str, asked: Mapping[str, Any] | bytes | Ask, *names: str) -> Oversized:
    if isinstance(asked, Ask):
        return Oversized(name, asked, names)
    data = asked if isinstance(asked, bytes) else _json(asked)
    path = COMPLETIONS if not isinstance(asked, bytes) and "prompt" in asked else CHAT
    return Oversized(name, Ask(data, path, most_tokens=4096), names)


def _of_tokens(name: str, count: int, policy: GatewayPolicy, model_len: int) -> Oversized:
    """A prompt of so many token ids; where its text alone is over the gateway's limit, that limit is named."""
    data = _json(completion([7] * count, max_tokens=8))
    if len(data) > policy.body_bytes_max:
        return Oversized(name, Ask(data, COMPLETIONS, most_tokens=8), (str(policy.body_bytes_max), str(len(data))))
    return Oversized(name, Ask(data, COMPLETIONS, most_tokens=8), (str(model_len), str(count)))


def _with_field(field: bytes) -> bytes:
    """A chat request with that field as it is, which no JSON library would write."""
    return _json(chat())[:-1] + b"," + field + b"}"


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _nothing_stays(context: FaultContext, args: Mapping[str, Any]) -> None:
    """Requests end with whoever has sent them."""


UNDO = {UNDO_NOTHING: _nothing_stays}
WORKLOAD = OversizedAsks
