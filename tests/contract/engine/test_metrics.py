"""Metric names, types and labels, and that they count what happened."""

from __future__ import annotations

import json

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from harness.probes.engine import WANTED, parse
from stack.models.catalogue import QUESTIONS_FILE
from tests.contract.engine.running import RunningEngine, finish_reasons
from tests.waiting import eventually

ENGINE = {"model_name", "engine"}
#: Family (as the parser names it) -> (type, labels of its main sample).
FAMILIES = {
    "vllm:num_requests_running": ("gauge", ENGINE),
    "vllm:num_requests_waiting": ("gauge", ENGINE),
    "vllm:kv_cache_usage_perc": ("gauge", ENGINE),
    "vllm:prompt_tokens": ("counter", ENGINE),
    "vllm:generation_tokens": ("counter", ENGINE),
    "vllm:num_preemptions": ("counter", ENGINE),
    "vllm:prefix_cache_queries": ("counter", ENGINE),
    "vllm:prefix_cache_hits": ("counter", ENGINE),
    "vllm:request_success": ("counter", ENGINE | {"finished_reason"}),
    "vllm:admission_rejections": ("counter", {"model_name", "reason"}),
    "vllm:time_to_first_token_seconds": ("histogram", ENGINE),
    "vllm:inter_token_latency_seconds": ("histogram", ENGINE),
    "vllm:e2e_request_latency_seconds": ("histogram", ENGINE),
    "vllm:request_queue_time_seconds": ("histogram", ENGINE),
    "vllm:request_prefill_time_seconds": ("histogram", ENGINE),
    "vllm:request_decode_time_seconds": ("histogram", ENGINE),
    "vllm:request_inference_time_seconds": ("histogram", ENGINE),
    "vllm:request_prompt_tokens": ("histogram", ENGINE),
    "vllm:request_generation_tokens": ("histogram", ENGINE),
}


def families(engine: RunningEngine) -> dict[str, Metric]:
    """The page, parsed."""
    return {family.name: family for family in text_string_to_metric_families(engine.client.get("/metrics").text)}


@pytest.mark.parametrize("name", FAMILIES)
def test_name_type_and_labels(engine: RunningEngine, name: str) -> None:
    """Present from the start, of that type, with those labels, for the served version."""
    kind, labels = FAMILIES[name]
    family = families(engine)[name]
    assert family.type == kind
    sample = family.samples[0]
    assert set(sample.labels) - {"le"} == labels
    assert sample.labels["model_name"] == engine.version


def test_the_probes_get_the_series_that_they_ask_for(engine: RunningEngine) -> None:
    """All of them and nothing else, as the whole page has them: a probe reads a few lines instead of 60 kB."""
    response = engine.client.get("/metrics/", params={"name[]": list(WANTED)})
    assert response.status_code == 200
    found = {sample.name for family in text_string_to_metric_families(response.text) for sample in family.samples}
    assert found == WANTED.keys()
    whole = engine.client.get("/metrics").text
    assert parse(response.text).keys() == parse(whole).keys()
    assert len(response.text) < len(whole) / 2


def test_finished_reasons_and_rejection_reasons(engine: RunningEngine) -> None:
    """Every value that these labels can take has its sample at 0 already."""
    page = families(engine)
    success = {sample.labels["finished_reason"] for sample in page["vllm:request_success"].samples}
    assert success == {"stop", "length", "abort", "error", "repetition"}
    refused = {sample.labels["reason"] for sample in page["vllm:admission_rejections"].samples}
    assert refused == {"max_num_queued_reqs", "max_num_queued_tokens"}


def test_buckets_are_the_same_as_vllms(engine: RunningEngine) -> None:
    """Quantiles from buckets depend on the bounds."""
    page = families(engine)

    def bounds(name: str) -> list[float]:
        return [float(s.labels["le"]) for s in page[name].samples if s.name.endswith("_bucket")]

    assert bounds("vllm:time_to_first_token_seconds")[:4] == [0.001, 0.005, 0.01, 0.02]
    assert len(bounds("vllm:time_to_first_token_seconds")) == 23
    assert bounds("vllm:request_queue_time_seconds")[:4] == [0.3, 0.5, 0.8, 1.0]
    assert len(bounds("vllm:request_queue_time_seconds")) == 22


def test_cache_config(engine: RunningEngine) -> None:
    """The KV cache's size is in the labels of an info metric."""
    (sample,) = families(engine)["vllm:cache_config_info"].samples
    assert sample.value == 1
    assert sample.labels["engine"] == "0"
    assert int(sample.labels["num_gpu_blocks"]) > 1
    assert int(sample.labels["block_size"]) == 128


def test_tokens_are_counted_as_usage_says(engine: RunningEngine) -> None:
    """Prompt and generation counters move by what the answer's usage says."""
    names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
    before = [engine.metric(name) for name in names]
    finished = engine.metric("vllm:request_success_total", finished_reason="length")
    usage = engine.post(engine.chat("A prompt for counting.", max_tokens=9, ignore_eos=True)).json()["usage"]
    expected = [before[0] + usage["prompt_tokens"], before[1] + usage["completion_tokens"]]
    assert eventually(lambda: [engine.metric(name) for name in names] == expected)
    assert engine.metric("vllm:request_success_total", finished_reason="length") == finished + 1


@pytest.mark.parametrize(("max_tokens", "reason"), [(200, "stop"), (1, "length")])
def test_the_end_of_a_stream_is_a_token_on_both_sides(engine: RunningEngine, max_tokens: int, reason: str) -> None:
    """An answer that ends by itself: its end-of-sequence token is in the stream's usage and in the counter, and nowhere
    in the text. One that is cut by max_tokens has none. So records and counters can be compared to the token.
    """
    question = json.loads(QUESTIONS_FILE.read_text())[0]["question"]
    before = engine.metric("vllm:generation_tokens_total")
    body = engine.chat(question, max_tokens=max_tokens, stream_options={"include_usage": True})
    events = [event for event in engine.events(body) if isinstance(event, dict)]
    assert finish_reasons(events) == [reason]
    used = events[-1]["usage"]["completion_tokens"]
    assert eventually(lambda: engine.metric("vllm:generation_tokens_total") == before + used)
    said = [event for event in events if event["choices"] and event["choices"][0]["delta"].get("content")]
    assert 0 < len(said) <= used - (reason == "stop")


def test_prefix_cache_counts_the_blocks_that_a_prompt_shares(engine: RunningEngine) -> None:
    """Queries are a prompt's tokens; hits are whole blocks of an earlier one, never all of them, none after a reset."""
    assert engine.reset_prefix_cache()
    names = ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total")
    story = "Once upon a time there was a fox who counted every tree of the wood. " * 30
    hits = []
    for ending in ("", "", "And then?"):
        before = [engine.metric(name) for name in names]
        answer = engine.post(engine.chat(story + ending, max_tokens=2, ignore_eos=True)).json()
        queried = before[0] + answer["usage"]["prompt_tokens"]
        assert eventually(lambda queried=queried: engine.metric(names[0]) == queried)
        hits.append(engine.metric(names[1]) - before[1])
    assert hits[0] == 0
    assert 0 < hits[1] < answer["usage"]["prompt_tokens"]
    assert hits[1] % 128 == hits[2] % 128 == 0
    assert hits[2] > 0
    assert engine.reset_prefix_cache()
    before = [engine.metric(name) for name in names]
    engine.post(engine.chat(story, max_tokens=2, ignore_eos=True)).raise_for_status()
    assert eventually(lambda: engine.metric(names[0]) > before[0])
    assert engine.metric(names[1]) == before[1]


def test_prefill_and_decode_time_are_told_apart(engine: RunningEngine) -> None:
    """Sum and count of both, which probes ask for without the buckets, move once a request has finished."""
    names = [f"vllm:request_{what}_time_seconds" for what in ("prefill", "decode")]
    before = [(engine.metric(f"{name}_sum"), engine.metric(f"{name}_count")) for name in names]
    engine.post(engine.chat("A prompt to be timed.", max_tokens=30, ignore_eos=True)).raise_for_status()
    for name, (total_s, count) in zip(names, before, strict=True):
        assert eventually(lambda name=name, count=count: engine.metric(f"{name}_count") == count + 1)
        assert 0 < engine.metric(f"{name}_sum") - total_s < 30


def test_kv_usage_grows_with_a_stream(engine: RunningEngine) -> None:
    """One block after another as the stream gets longer."""
    with engine.stream(engine.long_chat()) as stream:
        next(iter(stream))
        early = engine.metric("vllm:kv_cache_usage_perc")
        assert early > 0
        assert eventually(lambda: engine.metric("vllm:kv_cache_usage_perc") > early, 10)
