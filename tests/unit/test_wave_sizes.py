"""How large a cancel wave is: from the places of the replicas that it comes to, and the speed of one stream."""

from __future__ import annotations

import asyncio
import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from harness.faults.workloads import cancel_wave
from harness.model.errors import FaultError
from harness.model.options.cancel_wave import Options
from harness.model.topology import Topology
from harness.probes.path import PROBE_TOKENS, PathSample
from stack.stacks.vllm_haproxy import STACK


class Path:
    """Streams of so many tokens a second; the first probe is disturbed and half as fast."""

    def __init__(self, tokens_per_s: float | None) -> None:
        self.tokens_per_s, self.asked = tokens_per_s, 0

    async def through(self, gateway: str, deadline_s: float) -> PathSample:
        """One answer."""
        self.asked += 1
        if self.tokens_per_s is None:
            return PathSample("timeout", e2e_ms=1000 * deadline_s)
        took_ms = 1000 * (PROBE_TOKENS - 1) / self.tokens_per_s * (2 if self.asked == 1 else 1)
        return PathSample("ok", 5.0, 20.0, 20.0 + took_ms, 20.0, 6000, PROBE_TOKENS)


def size(topology: Topology, path: Path, on: str = "gateways", **options: Any) -> cancel_wave._Size:
    """Of a wave on that stack."""
    fault = cancel_wave.WORKLOAD("test", on, Options(moment="early", **options))
    context: Any = SimpleNamespace(topology=topology, path=path)
    return asyncio.run(fault._sized(context))


def policy(topology: Topology, **changed: Any) -> Topology:
    """That stack with other gateways."""
    return dataclasses.replace(topology, gateway_policy=dataclasses.replace(topology.gateway_policy, **changed))


@pytest.fixture
def topology() -> Topology:
    """Two replicas with 32 places each."""
    return Topology(STACK, engine="sim")


def test_streams_follow_the_places(topology: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all replicas behind the gateways, of one where the wave comes to that alone."""
    assert size(topology, Path(80), demand=1.375).streams == 88
    monkeypatch.setattr(cancel_wave, "SEQUENCES_MAX", 100)
    assert size(topology, Path(80), demand=1.375).streams == 275
    assert size(topology, Path(80), on="replica-1", demand=0.5).streams == 50
    assert size(topology, Path(80), streams=7).streams == 7


def test_a_stream_lasts_as_long_on_every_engine(topology: Topology) -> None:
    """By the best speed that was seen: twice as fast makes twice as many tokens."""
    assert size(topology, Path(20), lasts="6s").tokens == 120
    assert size(topology, Path(40), lasts="6s").tokens == 240
    assert size(topology, Path(40), max_tokens=9).tokens == 9


def test_no_stream_is_longer_than_gateways_and_model_allow(topology: Topology) -> None:
    """Whatever the speed; and never so short that nothing lies between its first token and its last."""
    fast = Path(100_000)
    assert size(topology, fast).tokens == topology.gateway_policy.chat_max_tokens
    lifted = policy(topology, chat_max_tokens=100_000)
    assert size(lifted, fast, words=500).tokens == topology.max_model_len - 2 * 500
    assert size(topology, Path(0.1)).tokens > 8


def test_a_stack_that_streams_nothing_has_no_size(topology: Topology) -> None:
    """It is not healthy before the fault."""
    with pytest.raises(FaultError, match="does not stream before the fault"):
        size(topology, Path(None))
