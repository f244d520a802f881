"""One token from each replica every other second: the only sign of life that a deaf replica cannot give."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import httpx
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.parser import text_string_to_metric_families

from harness.model.stream import CompletionReader
from stack import bounded
from stack.exporter.readiness import Readiness

#: What an engine says of itself when it missed a deadline has to come at once.
_METRICS_S = 0.5
_TOKENS = "vllm:generation_tokens_total"


class Synthetic:
    """Asks one replica at its own address. No series exists before the first answer or deadline: that is not a 0."""

    def __init__(self, registry: CollectorRegistry, readiness: Readiness) -> None:
        self._readiness = readiness
        replica = ["replica"]
        self._ok = Gauge(
            "drillyard_synthetic_ok", "1: the replica made a token within the deadline", replica, registry=registry
        )
        self._ttft = Gauge(
            "drillyard_synthetic_ttft_seconds",
            "Time to the only token of the last synthetic generation; absent when it failed",
            replica,
            registry=registry,
        )
        self._failures = Counter(
            "drillyard_synthetic_failures", "Failed synthetic generations", ["replica", "reason"], registry=registry
        )
        self._tokens = {
            what: Counter(f"drillyard_synthetic_tokens_{what}", text, replica, registry=registry)
            for what, text in (
                ("asked", "Tokens that synthetic generations asked for"),
                ("ended", "Tokens asked for by those that have ended, however they did"),
                ("got", "Tokens that came"),
            )
        }

    async def watch(self, replica: str, url: str, deployment: str, period_s: float, deadline_s: float) -> None:
        """Ask for ever. A round begins ``period_s`` after the last one began, or at once when that took longer."""
        for counter in self._tokens.values():
            counter.labels(replica)  # from 0 on
        async with httpx.AsyncClient(base_url=url, timeout=None, trust_env=False) as client:
            while True:
                began = time.monotonic()
                await self.ask(client, replica, deployment, deadline_s)
                await asyncio.sleep(max(0.0, period_s - (time.monotonic() - began)))

    async def ask(self, client: httpx.AsyncClient, replica: str, deployment: str, deadline_s: float) -> None:
        """One generation of one token, measured from before the connect; never raises for what the replica does."""
        body = {
            "model": deployment,
            "messages": [{"role": "user", "content": "ping"}],
            "max_tokens": 1,
            "temperature": 0,
        }
        began = time.monotonic()
        self._tokens["asked"].labels(replica).inc()
        reason = ""
        try:
            async with asyncio.timeout(deadline_s):
                response = await bounded.ask_async(client, "POST", "/v1/chat/completions", json=body)
            reason = _failure(response)
        except TimeoutError:
            reason = "timeout"
        except httpx.HTTPError:
            reason = "connection"
        finally:
            self._tokens["ended"].labels(replica).inc()
        self._record(replica, reason, time.monotonic() - began)
        if reason == "timeout":
            self._readiness.timed_out(replica, await _tokens_made(client))
        else:
            self._readiness.answered(replica)

    def _record(self, replica: str, reason: str, took_s: float) -> None:
        self._ok.labels(replica).set(not reason)
        if not reason:
            self._tokens["got"].labels(replica).inc()
            self._ttft.labels(replica).set(took_s)
            return
        self._failures.labels(replica, reason).inc()
        with suppress(KeyError):  # there was none yet
            self._ttft.remove(replica)  # an old time must not look like a new one


def _failure(response: bounded.Answer) -> str:
    """Why a whole HTTP answer has no token, as the reason label; "" when it has one."""
    if response.status_code != 200:
        return f"http_{response.status_code}"
    reader = CompletionReader(stream=False)
    reader.head(200, response.headers.get("Content-Type"), response.headers.get("Content-Encoding"))
    reader.feed(response.content, 0.0)
    reader.end()
    if reader.complete:
        return "" if reader.answer.generated and reader.answer.output_tokens != 0 else "empty"
    return "protocol"


async def _tokens_made(client: httpx.AsyncClient) -> float | None:
    """The engine's counter of all tokens that it has made; None when it does not tell."""
    try:
        async with asyncio.timeout(_METRICS_S):
            page = (await bounded.ask_async(client, "GET", "/metrics")).text
        lines = [line for line in page.splitlines() if line.startswith(_TOKENS)]
        families = text_string_to_metric_families("\n".join(lines) + "\n")
        values = [sample.value for family in families for sample in family.samples]
    except (TimeoutError, httpx.HTTPError, ValueError):
        return None
    return sum(values) if values else None
