"""Many long but legal contexts at once: together more than the KV caches of all replicas hold.

Whoever sends them is told honestly when there is no room, waits as told, and tries again. What came of each is told as
an event ``ask``.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx

from harness.faults.base import FaultContext, Proof, fault_id, tell_step
from harness.faults.workloads.oversized import ORDINARY_S, UNDO_NOTHING, completion, serves_again
from harness.model.errors import FaultError
from harness.model.journal import Undo
from harness.model.options.long_contexts import Options
from harness.model.topology import CLIENT, Topology
from harness.probes.ask import COMPLETIONS, Ask, Reply, send
from harness.probes.engine import kv_tokens, parse
from harness.probes.path import PathSample
from stack import bounded

#: Token ids that every vocabulary has and that mean nothing special.
_FIRST_ID, _LAST_ID = 10, 500
#: With this much of a KV cache in use, and a request preempted, the pressure was real.
FULL = 0.95
_LOOK_EVERY_S = 0.2
_LOOK_S = 2.0
_WITHOUT_RETRY_AFTER_S = 1.0


@dataclass
class _Seen:
    """What was going on: by the asks themselves, and by the engines' own figures."""

    at_once: int = 0
    running: int = 0
    replies: list[Reply] = field(default_factory=list)
    usage: float = 0.0
    preempted: float = 0.0
    first: dict[str, float] = field(default_factory=dict)

    def probe(self, replica: str, values: dict[tuple[str, str], float]) -> None:
        """Take one replica's figures."""
        self.usage = max(self.usage, values.get(("kv_usage_ratio", ""), 0.0))
        count = values.get(("preemptions_total", ""), 0.0)
        self.preempted = max(self.preempted, count - self.first.setdefault(replica, count))

    def describe(self) -> str:
        """One phrase for evidence tables."""
        served = sum(reply.outcome == "whole" for reply in self.replies)
        return (
            f"{self.at_once} at once, {served} of {len(self.replies)} served; KV cache {self.usage:.0%} full at most, "
            f"{self.preempted:.0f} preemptions"
        )


class LongContexts:
    """Long contexts through one gateway, over the link that its clients use."""

    type = "long_contexts"
    expected_disruptions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, phase: str, on: str, options: Any) -> None:
        self.id, self.phase, self.on = fault_id(phase, self.type, on), phase, on
        self.options: Options = options
        self.before: PathSample | None = None
        self.cache_tokens = 0
        self.seen = _Seen()
        self._random = random.Random(self.id)

    @staticmethod
    def targets(topology: Topology) -> list[str]:
        """The gateways; nothing of somebody else's."""
        return list(topology.gateways)

    @staticmethod
    def counts(options: Options, on: str, topology: Topology) -> dict[str, Any]:
        """As many as its step ``sized`` says, once the size of the KV caches is known."""
        return {"asks": "sized"}

    def undo(self) -> Undo:
        """What was asked ends with the connection that it was asked on."""
        return Undo(self.id, UNDO_NOTHING, {}, self.phase)

    async def measure(self, context: FaultContext) -> None:
        """An ordinary request is answered; and how much the KV caches hold."""
        self.before = await context.path.through(self.on, ORDINARY_S)
        if self.before.outcome != "ok":
            raise FaultError(f"{self.on} does not serve before the fault ({self.before.describe()})")
        self.cache_tokens = await kv_tokens(context.topology.component(context.topology.replicas[0]))

    async def run(self, context: FaultContext) -> Proof:
        """Ask, and look at the engines meanwhile. More must have been asked for at once than there is room for."""
        prompt = int(self.options.context * context.topology.max_model_len)
        each, room = prompt + self.options.max_tokens, self.cache_tokens * len(context.topology.replicas)
        wanted, until_s = math.ceil(self.options.demand * room / each), time.monotonic() + self.options.lasts
        tell_step(context, self, "sized", asks=wanted, cache_tokens=self.cache_tokens)
        looking = asyncio.create_task(self._look(context))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(wanted):
                    group.create_task(self._ask_again(context, prompt, until_s))
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        before, seen = f"room for {room} tokens, {wanted} requests of {each} each", self.seen.describe()
        long_enough = [r for r in self.seen.replies if r.outcome == "whole" and (r.prompt_tokens or 0) >= prompt]
        if self.seen.at_once < wanted or not long_enough:
            return Proof(False, f"the fault had no effect: the long contexts were not there; {seen}", before, seen)
        if self.options.pressure and (self.seen.usage < FULL or not self.seen.preempted):
            return Proof(False, f"the fault had no effect: the KV cache was never short; {seen}", before, seen)
        return Proof(True, f"{self.seen.at_once} long contexts at once, for {each} tokens each", before, seen)

    async def verify_healed(self, context: FaultContext) -> Proof:
        """An ordinary request is answered as before."""
        return await serves_again(context, self.on, self.before)

    async def _ask_again(self, context: FaultContext, prompt: int, until_s: float) -> None:
        """Ask for one long context after the other; after a refusal wait as it says."""
        link = context.topology.link_between(CLIENT, self.on)
        while time.monotonic() < until_s:
            self.seen.running += 1
            self.seen.at_once = max(self.seen.at_once, self.seen.running)
            reply = await send(context.path, link, self._context(prompt), self.options.deadline)
            self.seen.running -= 1
            self.seen.replies.append(reply)
            told = {"name": "a long context", "asked_tokens": self.options.max_tokens, **reply.data()}
            context.tell("ask", fault=self.id, phase=self.phase, on=self.on, must="be served", **told)
            if reply.outcome != "whole":
                await asyncio.sleep(reply.retry_after_s or _WITHOUT_RETRY_AFTER_S)

    def _context(self, prompt: int) -> Ask:
        """A prompt that nobody has in a cache."""
        ids = [self._random.randint(_FIRST_ID, _LAST_ID) for _ in range(prompt)]
        body = completion(
            ids,
            max_tokens=self.options.max_tokens,
            ignore_eos=True,
            stream=True,
            stream_options={"include_usage": True},
        )
        return Ask(json.dumps(body).encode(), COMPLETIONS, most_tokens=self.options.max_tokens)

    async def _look(self, context: FaultContext) -> None:
        async with httpx.AsyncClient(timeout=None, verify=False, trust_env=False) as client:
            while True:
                for replica in context.topology.replicas:
                    try:
                        async with asyncio.timeout(_LOOK_S):
                            page = await bounded.ask_async(
                                client, "GET", context.topology.component(replica).url(path="/metrics")
                            )
                        self.seen.probe(replica, parse(page.text))
                    except (httpx.HTTPError, TimeoutError):
                        continue  # the next look is soon
                await asyncio.sleep(_LOOK_EVERY_S)


WORKLOAD = LongContexts
