"""Replica metrics at 5 Hz, straight from each engine's ``/metrics``, past gateways and links.

The tightest limit on these series is 5 s, until queue and KV cache are empty again; 5 Hz show how many run at a time.
The half second in which a cancel has to arrive is looked at more closely (harness/probes/waves.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from harness.errors import StackError
from harness.probes import endpoint, exposition
from harness.probes.base import Row
from harness.probes.page import NoAnswer, Page
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


_CACHE_INFO = "vllm:cache_config_info"


def page_of(replica: Component, names: Iterable[str], deadline_s: float = 1.0) -> Page:
    """The metrics page of one of our replicas with these series alone: 2 of vLLM's 60 kB.

    The slash matters: ``/metrics`` itself is answered by another part of vLLM, which writes them all.
    """
    only = "&".join(f"name[]={quote(name)}" for name in names)
    return Page(replica.url(path=f"/metrics/?{only}"), deadline_s)


class EngineProbe:
    """One engine; sums a metric's series over their labels, except a histogram's ``le``."""

    period_s = 0.2

    def __init__(self, name: str, page: Page) -> None:
        self.name, self._replica, self._page = f"engine {name}", name, page

    @classmethod
    def of_replica(cls, replica: Component) -> EngineProbe:
        """One of our own replicas."""
        return cls(replica.name, page_of(replica, WANTED))

    @classmethod
    def of_target(cls, metrics: Endpoint) -> EngineProbe:
        """The metrics page of a target that is not ours, recorded as the component ``target``."""
        return cls("target", endpoint.page(metrics))

    async def sample(self) -> Sequence[Row]:
        """``up`` = 0 and nothing else when the engine does not answer within a second."""
        try:
            answer = await self._page.get()
        except NoAnswer:
            return [Row(self._replica, "up", "", 0.0)]
        if answer.status != 200:
            return [Row(self._replica, "up", "", 0.0)]
        values = parse(answer.text).items()
        return [Row(self._replica, "up", "", 1.0), *(Row(self._replica, *key, value) for key, value in values)]

    def close(self) -> None:
        """End its connection."""
        self._page.close()


def parse(text: str, wanted: Mapping[str, str] = WANTED) -> dict[tuple[str, str], float]:
    """The ``wanted`` values of a metrics page, by our name and labels (``""`` or ``"le=0.3"``)."""
    values: dict[tuple[str, str], float] = {}
    for name, labels, value in exposition.samples(text, wanted):
        key = wanted[name], f"{KEPT}={labels[KEPT]}" if KEPT in labels else ""
        values[key] = values.get(key, 0.0) + value
    return values


async def kv_tokens(replica: Component) -> int:
    """How many tokens the KV cache of ``replica`` holds: all its blocks but the one that engines set aside.

    StackError when it does not tell.
    """
    page = page_of(replica, [_CACHE_INFO], deadline_s=5.0)
    try:
        text = (await page.get()).text
    except NoAnswer as error:
        raise StackError(f"{replica.name} does not show its metrics: {error}") from error
    finally:
        page.close()
    for _, labels, _ in exposition.samples(text, {_CACHE_INFO}):
        if labels.get("num_gpu_blocks", "").isdigit():
            return (int(labels["num_gpu_blocks"]) - 1) * int(labels["block_size"])
    raise StackError(f"{replica.name} does not tell how large its KV cache is")
