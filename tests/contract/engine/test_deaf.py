"""The deaf replica: an engine that stands still behind a server that answers."""

from __future__ import annotations

import contextlib

import httpx
import pytest

from tests.contract.engine.running import RunningEngine, finish_reasons


def test_deaf_replica_looks_healthy(engine: RunningEngine) -> None:
    """Health is 200, a stream gets 200 and headers at once, the gauges say idle: only a missing token tells."""
    with engine.deaf():
        with engine.stream(engine.chat(max_tokens=3, ignore_eos=True)) as stream:
            assert stream.response.status_code == 200
            assert engine.client.get("/health").status_code == 200
            assert engine.client.get("/v1/models").status_code == 200
            assert engine.is_idle()
        with (
            engine.stream(engine.chat(max_tokens=3), timeout=1) as silent,
            pytest.raises(httpx.ReadTimeout),
        ):
            list(silent)


def test_deaf_replica_hears_again(engine: RunningEngine) -> None:
    """What was asked meanwhile is answered when the engine goes on."""
    with contextlib.ExitStack() as open_streams:
        with engine.deaf():
            stream = open_streams.enter_context(engine.stream(engine.chat(max_tokens=3, ignore_eos=True)))
        assert finish_reasons(list(stream)) == ["length"]
