"""Replica metrics at 5 Hz, straight from each engine's ``/metrics``, past gateways and links.

The tightest limit on these series is 5 s, until queue and KV cache are empty again; 5 Hz show how many run at a time.
The half second in which a cancel has to arrive is looked at more closely (harness/probes/waves.py).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol
from urllib.parse import quote

from harness.model.errors import StackError, UsageError
from harness.model.topology import Component, Endpoint
from harness.probes import endpoint, exposition
from harness.probes.base import ProbeSet, Row, Scene
from harness.probes.page import Answer, NoAnswer, Page

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
    "vllm:prefix_cache_queries_total": "prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total": "prefix_cache_hits_total",
    # Means are enough to show where the time goes: sum and count are 2 lines, the buckets 22.
    "vllm:request_prefill_time_seconds_sum": "request_prefill_time_seconds_sum",
    "vllm:request_prefill_time_seconds_count": "request_prefill_time_seconds_count",
    "vllm:request_decode_time_seconds_sum": "request_decode_time_seconds_sum",
    "vllm:request_decode_time_seconds_count": "request_decode_time_seconds_count",
}
#: Old name → current name of vLLM. The old one is used where the current one is missing.
OLDER: Mapping[str, str] = {
    "vllm:gpu_cache_usage_perc": "vllm:kv_cache_usage_perc",  # until 0.11
    "vllm:time_in_queue_requests_bucket": "vllm:request_queue_time_seconds_bucket",  # until 0.8
}
#: The label that is kept, where there is one: a histogram's bucket edges. Series are summed over all others (the engine
#: under data parallelism, a reason); of a ratio the largest counts.
KEPT = "le"
RATIOS = frozenset({"kv_usage_ratio"})
#: How many kinds of answers other than metrics are reported, per source.
_REPORTED_MAX = 5
#: Before the load a target's metrics page is requested so often, with this pause: one slow answer is no wrong URL.
_TRIES, _PAUSE_S = 3, 0.5


_CACHE_INFO = "vllm:cache_config_info"


def page_of(replica: Component, names: Iterable[str], deadline_s: float = 1.0) -> Page:
    """The metrics page of one of our replicas with these series alone: 2 of vLLM's 60 kB.

    The slash matters: ``/metrics`` itself is answered by another part of vLLM, which writes them all.
    """
    only = "&".join(f"name[]={quote(name)}" for name in names)
    return Page(replica.url(path=f"/metrics/?{only}"), deadline_s)


class MetricsSource(Protocol):
    """A page that is requested periodically."""

    async def get(self) -> Answer:
        """The page. NoAnswer without a whole answer."""

    def close(self) -> None:
        """End the connection."""


class EngineProbe:
    """One engine, or several behind one page; see ``parse``. ``tell`` records what was received instead of metrics."""

    period_s = 0.2

    def __init__(self, name: str, page: MetricsSource, tell: Callable[..., object] = lambda kind, **data: None) -> None:
        self.name, self._replica, self._page, self._tell = f"engine {name}", name, page, tell
        self._reported: set[str] = set()

    @classmethod
    def of_replica(cls, replica: Component) -> EngineProbe:
        """One of our own replicas."""
        return cls(replica.name, page_of(replica, (*WANTED, *OLDER)))

    @classmethod
    def of_target(cls, metrics: Endpoint, tell: Callable[..., object]) -> EngineProbe:
        """The metrics page of a target that is not ours, recorded as the component ``target``."""
        return cls("target", endpoint.MetricsPage(metrics), tell)

    async def sample(self) -> Sequence[Row]:
        """``up`` = 0 and nothing else without an answer within a second or any wanted series."""
        try:
            values = await _values(self._page)
        except _Unread as unread:
            return self._unread(unread.sort, unread.what)
        rows = (Row(self._replica, *key, value) for key, value in values.items())
        return [Row(self._replica, "up", "", 1.0), *rows]

    def close(self) -> None:
        """End its connection."""
        self._page.close()

    def _unread(self, sort: str, what: str) -> Sequence[Row]:
        if sort not in self._reported and len(self._reported) < _REPORTED_MAX:
            self._reported.add(sort)
            self._tell("metrics_unread", component=self._replica, what=what)
        return [Row(self._replica, "up", "", 0.0)]


class _Unread(Exception):
    """``what`` was received instead of metrics; ``sort`` is equal for answers of one kind."""

    def __init__(self, sort: str, what: str) -> None:
        super().__init__(what)
        self.sort, self.what = sort, what


async def _values(page: MetricsSource) -> dict[tuple[str, str], float]:
    """The wanted values of a metrics page, one at least. _Unread for anything else."""
    try:
        answer = await page.get()
    except NoAnswer as error:
        raise _Unread(error.reason, f"no answer ({error})") from error
    if answer.status != 200:
        raise _Unread(str(answer.status), endpoint.describe(answer))
    try:
        values = parse(exposition.whole(answer.text))
    except ValueError as error:
        raise _Unread("no sample", f"{endpoint.describe(answer)}, in which there is {error}") from error
    if not values:
        raise _Unread("no series", f"{endpoint.describe(answer)}, without any series of vLLM")
    return values


async def require_metrics(metrics: Endpoint) -> None:
    """UsageError when an external target shows no metrics of vLLM there, however often it is asked."""
    page = endpoint.MetricsPage(metrics)
    try:
        for left in reversed(range(_TRIES)):
            try:
                await _values(page)
                return
            except _Unread as unread:
                if left == 0:
                    raise UsageError(
                        f"METRICS_URL={metrics.url}: found {unread.what}; expected vLLM's metrics page, with series "
                        "such as vllm:num_requests_running. Name that page, or leave METRICS_URL out"
                    ) from unread
            await asyncio.sleep(_PAUSE_S)
    finally:
        page.close()


def parse(text: str, wanted: Mapping[str, str] = WANTED) -> dict[tuple[str, str], float]:
    """The ``wanted`` values of a metrics page, by our name and labels (``""`` or ``"le=0.3"``).

    A duplicate series counts once, as in Prometheus; NaN and infinity are skipped.
    """
    older = {old: new for old, new in OLDER.items() if new in wanted}
    series: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for name, labels, value in exposition.samples(text, {*wanted, *older}):
        if math.isfinite(value):
            series.setdefault(name, {}).setdefault(frozenset(labels.items()), value)
    for old, new in older.items():
        series.setdefault(new, series.pop(old, {}))
    values: dict[tuple[str, str], float] = {}
    for name, found in series.items():
        for labelled, value in found.items():
            edge = dict(labelled).get(KEPT)
            key = wanted[name], "" if edge is None else f"{KEPT}={edge}"
            before = values.get(key, 0.0)
            values[key] = max(before, value) if wanted[name] in RATIOS else before + value
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


def _probes(scene: Scene, replicas: Sequence[Component]) -> list[EngineProbe]:
    target = scene.runtime.topology.target
    if target is None:
        return [EngineProbe.of_replica(replica) for replica in replicas]
    return [EngineProbe.of_target(target.metrics, scene.record)] if target.metrics is not None else []


PROBES = ProbeSet(("replica",), _probes, external=True)
