"""Measures a link on the data path: one small streamed request that must cross it.

Network errors are outcomes. Exhausted when no file descriptor, port or memory is left here.

A link between a gateway and a replica is measured *through that gateway* (operator key and ``X-Drillyard-Pin``), never
by connecting to toxiproxy directly: if the gateway goes another way than through the link, the fault shows no effect,
and that is the point. A link between clients and a gateway is measured at the address that DNS hands to clients, one to
a target that is not ours where the load connects.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx

from harness.evidence.record import ANY_REPLICA
from harness.model import exhausted
from harness.model.stream import CompletionReader
from harness.model.topology import CLIENT, TARGET, Component, Link, Target, Topology
from harness.probes import completion, endpoint
from harness.probes.own_tokens import OwnTokens

#: Long enough to see gaps and a byte rate, short enough to be cheap: about 6 kB of events.
PROBE_TOKENS = 24
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class PathSample:
    """One crossing of a link. Times in ms since the request was begun; None when it never came to that."""

    outcome: str  # ok | timeout | refused | broken | http_<status> | inband_error | protocol_error
    headers_ms: float | None = None
    first_body_ms: float | None = None
    e2e_ms: float | None = None  # until the end, whatever it was
    max_gap_ms: float | None = None  # longest silence between two reads of the body
    body_bytes: int = 0
    reads: int = 0  # how many pieces the body came in
    replica: str | None = None  # who answered, as the gateway says

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens per second after the first; None where the answer is incomplete or arrived in one piece."""
        if self.outcome != "ok" or self.reads < 2 or self.first_body_ms is None or self.e2e_ms is None:
            return None
        took_ms = self.e2e_ms - self.first_body_ms
        return 1000 * (PROBE_TOKENS - 1) / took_ms if took_ms > 0 else None

    def describe(self) -> str:
        """One phrase for evidence tables."""
        if self.outcome == "ok":
            return f"answered in {self.e2e_ms:.0f} ms (first byte {self.headers_ms:.0f} ms, {self.body_bytes} B)"
        return f"{self.outcome} after {self.e2e_ms:.0f} ms, {self.body_bytes} B received"


class PathProbe:
    """Sends pinned requests over links of one stack; what they cost is counted in ``own``.

    ``deployment`` is the model that they ask for.
    """

    def __init__(self, topology: Topology, operator_key: str, deployment: str) -> None:
        self.topology, self.operator_key, self.deployment = topology, operator_key, deployment
        self.own = OwnTokens(topology.replicas)
        self._verify = endpoint.verification(topology.target.service) if topology.target else False

    async def measure(self, link: Link, deadline_s: float) -> PathSample:
        """Cross ``link`` once, as its protocol says, for ``deadline_s`` at most. Never raises for network trouble."""
        return await PROTOCOLS[link.protocol](self, link, deadline_s)

    async def _chat(self, link: Link, deadline_s: float) -> PathSample:
        """As a client, at the address that clients connect to."""
        address = f"{link.listen_address}:{link.listen_port}"
        if self.topology.target is not None:
            return await self._ask(self._of_target(self.topology.target, address), deadline_s)
        return await self._ask(self._of_gateway(f"http://{address}"), deadline_s)

    async def _pinned_chat(self, link: Link, deadline_s: float) -> PathSample:
        """Through the gateway at its begin, which is told to ask the replica at its end."""
        gateway = self._of_gateway(self.topology.component(link.source).url(), pin=link.target)
        return await self._ask(gateway, deadline_s, pin=link.target)

    async def through(self, gateway: str, deadline_s: float) -> PathSample:
        """Ask ``gateway`` itself, which chooses the replica. Never raises for network trouble."""
        return await self._ask(self._of_gateway(self.topology.component(gateway).url()), deadline_s)

    async def straight(self, target: Target, deadline_s: float) -> PathSample:
        """Ask a target that is not ours at its own address, past the link. Never raises for network trouble."""
        return await self._ask(self._of_target(target, target.service.pinned), deadline_s)

    async def require_key(self, target: Target, deadline_s: float) -> None:
        """UsageError when the target refuses the key. Any other answer, or none, is for the drill to judge.

        Asked by a completion over the link: lists of models may be public, or closed to a key that may use a model.
        """
        sample = await self.measure(self.topology.link_between(CLIENT, TARGET), deadline_s)
        if sample.outcome.startswith("http_"):
            endpoint.require_key_taken(target, CHAT, int(sample.outcome.removeprefix("http_")))

    def _of_target(self, target: Target, where: str) -> dict[str, Any]:
        return endpoint.request(target.service, where, CHAT, self.operator_key)

    def _of_gateway(self, url: str, pin: str | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.operator_key}"} | ({"X-Drillyard-Pin": pin} if pin else {})
        return {"url": f"{url}{CHAT}", "headers": headers}

    async def _ask(self, request: Mapping[str, Any], deadline_s: float, pin: str | None = None) -> PathSample:
        """Send ``request``, which goes to the replica ``pin``; without one the far side chooses, and may try again."""
        tokens = PROBE_TOKENS if pin else PROBE_TOKENS * (1 + self.topology.gateway_policy.retries)
        with self.own.asking(pin or ANY_REPLICA, tokens) as ask:
            sample = await self._send(request, deadline_s)
            if sample.outcome == "ok" and pin:
                ask.got = tokens
            return sample

    async def _send(self, request: Mapping[str, Any], deadline_s: float) -> PathSample:
        started = time.monotonic()
        reads: list[tuple[float, int]] = []
        heads: list[tuple[float, str | None]] = []
        reader = CompletionReader()
        trouble = await completion.ask(
            reader,
            deadline_s,
            {**request, "json": self._body()},
            verify=self._verify,
            head=lambda response: heads.append((_ms_since(started), response.headers.get("X-Drillyard-Replica"))),
            piece=lambda size: reads.append((_ms_since(started), size)),
        )
        headers_ms, replica = heads[0] if heads else (None, None)
        sample = _sample(trouble or crossed(reader), headers_ms, _ms_since(started), reads)
        return replace(sample, replica=replica)

    def _body(self) -> dict[str, object]:
        body: dict[str, object] = {
            "model": self.deployment,
            "messages": [{"role": "user", "content": "Say something."}],
            "max_tokens": PROBE_TOKENS,
            "temperature": 0,
            "stream": True,
        }
        # vLLM's own; what stands in front of a service that is not ours may refuse what OpenAI's API does not have.
        return body if self.topology.target else {**body, "ignore_eos": True}


#: How a link is crossed, by what its stack calls the protocol that proves it.
PROTOCOLS: Mapping[str, Callable[[PathProbe, Link, float], Coroutine[Any, Any, PathSample]]] = {
    "chat": PathProbe._chat,
    "pinned chat": PathProbe._pinned_chat,
}


async def page(url: str, deadline_s: float) -> PathSample:
    """Get a page, for ``deadline_s`` at most. Never raises for network trouble."""
    started, reads, headers_ms = time.monotonic(), list[tuple[float, int]](), None
    try:
        async with (
            asyncio.timeout(deadline_s),
            httpx.AsyncClient(timeout=None, verify=False, trust_env=False) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        ):
            headers_ms = _ms_since(started)
            async for piece in response.aiter_raw():
                reads.append((_ms_since(started), len(piece)))
            outcome = "ok" if response.status_code == 200 else f"http_{response.status_code}"
    except TimeoutError:
        outcome = "timeout"
    except httpx.ConnectError as error:
        exhausted.raise_if_local(error)
        outcome = "refused"
    except httpx.HTTPError:
        outcome = "broken"
    return _sample(outcome, headers_ms, _ms_since(started), reads)


async def synthetic(replica: Component, deployment: str, deadline_s: float, own: OwnTokens) -> float | None:
    """Request one token from a replica directly; ms until it was generated, None without it within ``deadline_s``."""
    body = {
        "model": deployment,
        "messages": [{"role": "user", "content": "ping"}],
        "max_tokens": 1,
        "ignore_eos": True,
        "stream": True,
    }
    started, reader = time.monotonic(), CompletionReader()
    generated_ms: list[float] = []

    def note(size: int) -> None:
        if reader.answer.generated and not generated_ms:
            generated_ms.append(_ms_since(started))

    with own.asking(replica.name, 1) as ask:
        await completion.ask(reader, deadline_s, {"url": replica.url(path=CHAT), "json": body}, piece=note)
        ask.got = len(generated_ms)
    return generated_ms[0] if generated_ms else None


def crossed(reader: CompletionReader) -> str:
    """Outcome of a crossing with a whole HTTP answer: ``ok`` if the stream is whole, too."""
    if reader.status != 200:
        return f"http_{reader.status}"
    if reader.complete:
        return "ok"
    outcome = reader.outcome()[0]
    return "broken" if outcome == "broken_stream" else outcome


def _sample(outcome: str, headers_ms: float | None, e2e_ms: float, reads: list[tuple[float, int]]) -> PathSample:
    gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(reads)]
    return PathSample(
        outcome=outcome,
        headers_ms=headers_ms,
        first_body_ms=reads[0][0] if reads else None,
        e2e_ms=e2e_ms,
        max_gap_ms=max(gaps) if gaps else None,
        body_bytes=sum(size for _, size in reads),
        reads=len(reads),
    )


def _ms_since(started: float) -> float:
    return (time.monotonic() - started) * 1000
