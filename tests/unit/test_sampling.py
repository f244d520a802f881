"""Samples are waited for: so many before the load, so many more after it, and never for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

from harness.evidence.record import RunFolder
from harness.judge.checks import counters_agree
from harness.judge.drill import Reading
from harness.probes.base import Row
from harness.run.sampling import Sampling
from stack.stacks.vllm_haproxy import STACK
from tests import sessions
from tests.waiting import WITHIN_S

REPLICAS = STACK.of("replica")
OWN, MADE = "own_tokens_asked_total", "generation_tokens_total"


def sampling(folder: Path, log: sessions.Log | None = None) -> Sampling:
    """Without any probe."""
    return Sampling(RunFolder(folder), log or sessions.Log())  # type: ignore[arg-type]


def read(into: Sampling, metric: str, replica: str, times: int, labels: str = "") -> None:
    """As if a probe had read it so often."""
    for _ in range(times):
        into._writer.add(0.0, [Row(replica, metric, labels, 9.0)])


async def waits(waiting: asyncio.Task[None]) -> bool:
    """Whether it still waits after some looks."""
    await asyncio.wait([waiting], timeout=0.12)
    return not waiting.done()


def test_the_load_waits_for_what_the_counters_need(tmp_path: Path) -> None:
    """Each series of each replica, as often as the check of the counters says."""
    taken = sampling(tmp_path)

    async def drill() -> None:
        waiting = asyncio.create_task(taken.read(REPLICAS, counters_agree.check().before_load, 8.0))
        for replica in REPLICAS:
            for metric, labels, times in ((OWN, "by=harness", 2), (OWN, "by=exporter", 2), (MADE, "", 4)):
                read(taken, metric, replica, times - 1, labels)
                assert await waits(waiting), (metric, replica)
                read(taken, metric, replica, 1, labels)
        await asyncio.wait_for(waiting, 2)

    asyncio.run(drill())


def test_counters_are_read_again_after_the_load(tmp_path: Path) -> None:
    """However late a probe is: first what every replica counted, then what others asked of it."""
    taken = sampling(tmp_path)
    for metric in (MADE, OWN):
        for replica in REPLICAS:
            read(taken, metric, replica, 9)

    async def drill() -> None:
        waiting = asyncio.create_task(taken.read_again(counters_agree.check().after_load, 8.0))
        for metric in (MADE, OWN):
            for replica in REPLICAS:
                assert await waits(waiting), (metric, replica)
                read(taken, metric, replica, 4)
        await asyncio.wait_for(waiting, 2)

    asyncio.run(drill())


def test_readings_with_labels_are_those_alone(tmp_path: Path) -> None:
    """Others of the same metric may be read by a probe that is gone."""
    taken = sampling(tmp_path)
    read(taken, OWN, REPLICAS[0], 1, "by=harness")
    read(taken, OWN, REPLICAS[0], 1, "by=exporter")

    async def drill() -> None:
        waiting = asyncio.create_task(taken.read_again([Reading(OWN, 1, "by=harness")], 8.0))
        assert await waits(waiting)
        read(taken, OWN, REPLICAS[0], 1, "by=harness")
        await asyncio.wait_for(waiting, 2)

    asyncio.run(drill())


def test_what_nobody_reads_is_waited_for_with_a_bound(tmp_path: Path) -> None:
    """A replica that is gone at the end of a run must not keep it from ending, nor one at its begin."""
    taken = sampling(tmp_path, sessions.Log(sessions.ticking()))
    read(taken, MADE, REPLICAS[0], 1)

    async def drill(waiting: Awaitable[None]) -> None:
        await asyncio.wait_for(waiting, WITHIN_S)  # of a clock that ticks by itself

    asyncio.run(drill(taken.read_again(counters_agree.AFTER_LOAD, 8.0)))
    asyncio.run(drill(taken.read(REPLICAS, counters_agree.BEFORE_LOAD, 8.0)))


def test_nothing_sampled_is_no_file(tmp_path: Path) -> None:
    """A run whose stack never came up has no metrics, rather than empty ones."""
    asyncio.run(sampling(tmp_path).close())
    assert list(tmp_path.iterdir()) == []
