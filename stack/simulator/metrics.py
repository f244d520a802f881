"""vLLM 0.32's metric names, labels and types, as far as Drillyard reads them.

Gauges are published by an engine step, so a hanging engine leaves them frozen: that is vLLM's behaviour, too.
"""

from __future__ import annotations

from collections.abc import Collection

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from harness.model.alert_rules import TTFT_BUCKETS_S
from stack.simulator.options import Options
from stack.simulator.sequence import Sequence

_ENGINE = ("model_name", "engine")
_LATENCY_S = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
_INTER_TOKEN_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)

#: (name, help, buckets) of the histograms that are observed when a request finishes.
_AT_FINISH = (
    ("e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", _LATENCY_S),
    ("request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", _LATENCY_S),
    ("request_prefill_time_seconds", "Histogram of time spent in PREFILL phase for request.", _LATENCY_S),
    ("request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.", _LATENCY_S),
    ("request_inference_time_seconds", "Histogram of time spent in RUNNING phase for request.", _LATENCY_S),
    ("request_prompt_tokens", "Number of prefill tokens processed.", _TOKENS),
    ("request_generation_tokens", "Number of generation tokens processed.", _TOKENS),
)


class Metrics:
    """The ``/metrics`` page of one simulated engine."""

    def __init__(self, options: Options) -> None:
        self._registry = CollectorRegistry()
        self._model = options.model_name
        self._running = self._gauge("num_requests_running", "Number of requests in model execution batches.")
        self._waiting = self._gauge("num_requests_waiting", "Number of requests waiting to be processed.")
        self._kv_usage = self._gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.")
        self._prompt = self._counter("prompt_tokens", "Number of prefill tokens processed.")
        self._generation = self._counter("generation_tokens", "Number of generation tokens processed.")
        self._preemptions = self._counter("num_preemptions", "Cumulative number of preemption from the engine.")
        self._prefix_queries = self._counter(
            "prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens."
        )
        self._prefix_hits = self._counter(
            "prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens."
        )
        success = Counter(
            "vllm:request_success",
            "Count of successfully processed requests.",
            (*_ENGINE, "finished_reason"),
            registry=self._registry,
        )
        self._success = {
            reason: success.labels(self._model, "0", reason)
            for reason in ("stop", "length", "abort", "error", "repetition")
        }
        rejections = Counter(
            "vllm:admission_rejections",
            "Number of admission attempts rejected by a queue limit, by reason.",
            ("model_name", "reason"),
            registry=self._registry,
        )
        self._rejections = {
            reason: rejections.labels(self._model, reason)
            for reason in ("max_num_queued_reqs", "max_num_queued_tokens")
        }
        self._ttft = self._histogram(
            "time_to_first_token_seconds", "Histogram of time to first token in seconds.", TTFT_BUCKETS_S
        )
        self._inter_token = self._histogram(
            "inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", _INTER_TOKEN_S
        )
        self._at_finish = {name: self._histogram(name, text, buckets) for name, text, buckets in _AT_FINISH}
        cache = {"block_size": str(options.block_size), "num_gpu_blocks": str(options.kv_blocks), "engine": "0"}
        info = Gauge(
            "vllm:cache_config_info", "Information of the LLMEngine CacheConfig", tuple(cache), registry=self._registry
        )
        info.labels(**cache).set(1)

    def page(self, names: Collection[str] = ()) -> bytes:
        """The text that Prometheus scrapes; with ``names`` those series alone."""
        return generate_latest(self._registry.restricted_registry(names) if names else self._registry)

    def scheduled(self, running: int, waiting: int, kv_usage: float) -> None:
        """What an engine step leaves behind; ``kv_usage`` from 0 to 1."""
        self._running.set(running)
        self._waiting.set(waiting)
        self._kv_usage.set(kv_usage)

    def looked_up(self, queried_tokens: int, cached_tokens: int) -> None:
        """A new request was scheduled; so many tokens of its prompt were in the prefix cache."""
        self._prefix_queries.inc(queried_tokens)
        self._prefix_hits.inc(cached_tokens)

    def preempted(self) -> None:
        """A running request lost its blocks."""
        self._preemptions.inc()

    def refused(self) -> None:
        """A request was not admitted."""
        self._rejections["max_num_queued_reqs"].inc()

    def token(self, sequence: Sequence, now_s: float) -> None:
        """A token was generated."""
        self._generation.inc()
        if sequence.first_token_s is None:
            sequence.first_token_s = now_s
            self._prompt.inc(sequence.prompt_tokens)
            self._ttft.observe(now_s - sequence.arrived_s)
        else:
            self._inter_token.observe(now_s - sequence.last_token_s)
        sequence.last_token_s = now_s

    def finished(self, sequence: Sequence, now_s: float) -> None:
        """A request ran to its end. A cancelled one never comes here: vLLM forgets it before it counts."""
        assert sequence.finish_reason is not None
        assert sequence.scheduled_s is not None
        assert sequence.first_token_s is not None
        self._success[sequence.finish_reason].inc()
        observed = {
            "e2e_request_latency_seconds": now_s - sequence.arrived_s,
            "request_queue_time_seconds": sequence.scheduled_s - sequence.arrived_s,
            "request_prefill_time_seconds": sequence.first_token_s - sequence.scheduled_s,
            "request_decode_time_seconds": now_s - sequence.first_token_s,
            "request_inference_time_seconds": now_s - sequence.scheduled_s,
            "request_prompt_tokens": sequence.prompt_tokens,
            "request_generation_tokens": sequence.generated,
        }
        for name, value in observed.items():
            self._at_finish[name].observe(value)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"vllm:{name}", text, _ENGINE, registry=self._registry).labels(self._model, "0")

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"vllm:{name}", text, _ENGINE, registry=self._registry).labels(self._model, "0")

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        family = Histogram(f"vllm:{name}", text, _ENGINE, registry=self._registry, buckets=buckets)
        return family.labels(self._model, "0")
