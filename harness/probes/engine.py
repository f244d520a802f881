"""Replica metrics at 5 Hz, straight from each engine's ``/metrics``, past gateways and links."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from harness.errors import StackError
from harness.probes import endpoint
from harness.probes.base import Row
from stack.topology import Component, Endpoint

#: vLLM's name → ours. vLLM 0.32; the contract tests pin the names.
WANTED: Mapping[str, str] = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "kv_usage_ratio",
    "vllm:generation_tokens_total": "generation_tokens_total",
    "vllm:prompt_tokens_total": "prompt_tokens_total",
    "vllm:request_success_total": "request_success_total",
    "vllm:num_preemptions_total": "preemptions_total",
    "vllm:admission_rejections_total": "admission_rejections_total",
    "vllm:request_queue_time_seconds_bucket": "request_queue_time_seconds_bucket",
}
#: The label that is kept, where there is one: a histogram's bucket edges. All others are summed over.
KEPT = "le"


class EngineProbe:
    """One engine; sums a metric's series over their labels, except a histogram's ``le``."""

    period_s = 0.2

    def __init__(self, name: str, ask: Mapping[str, Any], verify: ssl.SSLContext | bool = False) -> None:
        self.name, self._replica, self._ask = f"engine {name}", name, dict(ask)
        self._client = httpx.AsyncClient(timeout=1.0, verify=verify, trust_env=False)

    @classmethod
    def of_replica(cls, replica: Component) -> EngineProbe:
        """One of our own replicas."""
        return cls(replica.name, {"url": replica.url(path="/metrics")})

    @classmethod
    def of_target(cls, metrics: Endpoint) -> EngineProbe:
        """The metrics page of a target that is not ours, recorded as the component ``target``."""
        return cls("target", endpoint.request(metrics, metrics.pinned), endpoint.verification(metrics))

    async def sample(self) -> Sequence[Row]:
        """``up`` = 0 and nothing else when the engine does not answer within a second."""
        try:
            response = await self._client.get(**self._ask)
        except httpx.HTTPError:
            return [Row(self._replica, "up", "", 0.0)]
        if response.status_code != 200:
            return [Row(self._replica, "up", "", 0.0)]
        values = parse(response.text).items()
        return [Row(self._replica, "up", "", 1.0), *(Row(self._replica, *key, value) for key, value in values)]


def parse(text: str, wanted: Mapping[str, str] = WANTED) -> dict[tuple[str, str], float]:
    """The ``wanted`` values of a metrics page, by our name and labels (``""`` or ``"le=0.3"``).

    Only wanted lines are parsed: pages are 60 kB long.
    """
    lines = [line for line in text.splitlines() if line.startswith(tuple(wanted))]
    values: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            if sample.name in wanted:
                labels = f"{KEPT}={sample.labels[KEPT]}" if KEPT in sample.labels else ""
                key = wanted[sample.name], labels
                values[key] = values.get(key, 0.0) + sample.value
    return values


async def kv_tokens(replica: Component) -> int:
    """How many tokens the KV cache of ``replica`` holds: all its blocks but the one that engines set aside.

    StackError when it does not tell.
    """
    try:
        async with httpx.AsyncClient(timeout=5.0, verify=False, trust_env=False) as client:
            text = (await client.get(replica.url(path="/metrics"))).text
    except httpx.HTTPError as error:
        raise StackError(f"{replica.name} does not show its metrics: {error or type(error).__name__}") from error
    lines = [line for line in text.splitlines() if line.startswith("vllm:cache_config_info{")]
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            if sample.labels.get("num_gpu_blocks", "").isdigit():
                return (int(sample.labels["num_gpu_blocks"]) - 1) * int(sample.labels["block_size"])
    raise StackError(f"{replica.name} does not tell how large its KV cache is")
