"""Waves of cancelled streams on a simulated stack: proven when their moment came, and never left open."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import psutil
import pytest

from harness.faults.base import FaultContext, take_back
from harness.faults.workloads import cancel_wave
from harness.model.errors import FaultError
from harness.model.options.cancel_wave import Options
from harness.probes.waves import Waves


@contextlib.asynccontextmanager
async def wave_context(context: FaultContext) -> AsyncIterator[tuple[FaultContext, list[dict[str, Any]]]]:
    """A world with a ledger that is kept while the test goes on, and what it would write into the run folder."""
    saved: list[dict[str, Any]] = []
    replicas = [one for one in context.topology.components if one.role == "replica"]
    ledger = Waves(replicas, time.monotonic(), lambda _, data: saved.append(data))

    async def look() -> None:
        while True:
            await asyncio.gather(*(probe.sample() for probe in ledger.probes))
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    try:
        yield replace(context, waves=ledger), saved
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        for probe in ledger.probes:
            probe.close()


async def connected(address: tuple[str, int]) -> None:
    """Return when this process has a connection to ``address``."""
    while not any(one.raddr == address for one in psutil.Process().net_connections()):  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def wave(on: str, **options: Any) -> cancel_wave.CancelWave:
    """The fault under test."""
    return cancel_wave.WORKLOAD("test", on, Options(watch="800ms", **options))


@pytest.mark.parametrize(("on", "moment"), [("gateways", "early"), ("replica-1", "half-read"), ("gateway-b", "late")])
def test_a_wave_at_its_moment_is_proven(context: FaultContext, on: str, moment: str) -> None:
    """Every stream is recorded with its tokens, its cancel and its replica; both endings are used."""

    async def drill() -> None:
        async with wave_context(context) as (here, saved):
            fault = wave(on, moment=moment, streams=8, max_tokens=100)
            await fault.measure(here)
            proof = await fault.run(here)
            assert proof.proven, proof
            assert (await fault.verify_healed(here)).proven
            streams = saved[-1]["waves"][-1]["streams"]
            assert {stream["ending"] for stream in streams} == {"fin", "rst"}
            assert all(s["cancelled_s"] > s["first_token_s"] > s["sent_s"] for s in streams if s["tokens"])
            assert all(canary["right"] for canary in saved[-1]["waves"][-1]["canaries"])

    asyncio.run(drill())


def test_a_moment_that_never_comes_is_not_proven(context: FaultContext) -> None:
    """Four streams fill no queue: the wave is tried again, and then said to have missed."""

    async def drill() -> None:
        async with wave_context(context) as (here, _):
            fault = wave("gateways", moment="queued", streams=4, max_tokens=64)
            await fault.measure(here)
            proof = await fault.run(here)
            assert not proof.proven
            assert "not reached" in proof.why
            assert (await fault.verify_healed(here)).proven

    asyncio.run(drill())


def test_undo_hangs_up_in_the_middle_of_a_wave(context: FaultContext) -> None:
    """Healing ends a wave that is under way: none of its connections stays; run again it does no harm."""

    async def drill() -> None:
        async with wave_context(context) as (here, _):
            fault = wave("replica-2", moment="late", streams=6, max_tokens=1500)
            await fault.measure(here)
            running = asyncio.create_task(fault.run(here))
            address = (context.topology.component("replica-2").address, 8000)
            await asyncio.wait_for(connected(address), 5.0)
            await asyncio.to_thread(take_back, here, fault.undo())
            await asyncio.wait([running])
            assert running.cancelled()
            assert (await fault.verify_healed(here)).proven
            await asyncio.to_thread(take_back, here, fault.undo())

    asyncio.run(drill())


def test_without_a_ledger_nothing_is_sent(context: FaultContext) -> None:
    """A wave that nobody could account for is refused."""
    with pytest.raises(FaultError, match="ledger"):
        asyncio.run(wave("gateways", moment="early").measure(context))
