"""The faults of the oom drill on a simulated stack: what is asked, what comes of it, and when it proves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from harness.adapters.gateways.haproxy import Haproxy
from harness.faults import oom, widened
from harness.faults.base import FaultContext, take_back
from harness.faults.workloads import long_contexts, oversized
from harness.model.errors import StackError, UsageError
from harness.probes.ask import Ask, Reply, send
from harness.probes.path import PathSample
from stack.runtimes import readiness
from stack.runtimes.base import ComponentStats
from tests.integration.test_component_faults import lame, limitable, make
from tests.waiting import until

__all__ = ["limitable"]  # a fixture

pytestmark = [pytest.mark.trust, pytest.mark.timeout(120)]
GATEWAY, REPLICA = "gateway-a", "replica-2"


@pytest.fixture
def told(context: FaultContext) -> tuple[FaultContext, list[dict[str, Any]]]:
    """The world, and every event that a fault tells it."""
    events: list[dict[str, Any]] = []
    return replace(context, tell=lambda kind, **data: events.append({"kind": kind, **data})), events


@pytest.fixture(autouse=True)
def _whole_again(context: FaultContext) -> Iterator[None]:
    """No test leaves a replica down or limited."""
    yield
    context.runtime.limit_memory(REPLICA, None)
    context.runtime.start(REPLICA)
    until(lambda: not readiness.unready(context.topology), 60)


def test_oversized_asks_are_all_refused_by_their_limits(told: tuple[FaultContext, list[dict[str, Any]]]) -> None:
    """Each reaches somebody, is refused as the client's mistake, and the refusal names limit and value."""
    context, events = told

    async def drill() -> None:
        one = make("oversized", GATEWAY, every="0s")
        await one.measure(context)
        effect = await one.run(context)
        assert effect.proven, effect.why
        take_back(context, one.undo())
        assert (await one.verify_healed(context)).proven

    asyncio.run(drill())
    assert len(events) > 20
    assert {e["name"]: e["status"] for e in events if not 400 <= (e["status"] or 0) < 500} == {}
    assert {e["name"]: e["message"] for e in events if any(word not in e["message"] for word in e["names"])} == {}
    assert {e["layer"] for e in events} == {"gateway", "engine"}


def test_long_contexts_are_served_or_shed(told: tuple[FaultContext, list[dict[str, Any]]]) -> None:
    """More than there is room for at once; each is served whole or told when to come again. No pressure with caps."""
    context, events = told

    async def drill() -> None:
        one = make("long_contexts", GATEWAY, lasts="1s", max_tokens=32, pressure=True)
        await one.measure(context)
        effect = await one.run(context)
        assert not effect.proven
        assert "the KV cache was never short" in effect.why
        assert (await one.verify_healed(context)).proven

    asyncio.run(drill())
    asked = [e for e in events if e["kind"] == "ask"]
    served = [e for e in asked if e["outcome"] == "whole"]
    shed = [e for e in asked if e["outcome"] != "whole"]
    [sized] = [e["asks"] for e in events if e.get("step") == "sized"]
    assert len(asked) >= sized > 0
    assert served
    assert {e["output_tokens"] for e in served} == {32}
    assert {(e["status"], e["retry_after_s"]) for e in shed} <= {(503, 1.0)}


@pytest.mark.parametrize(("type_name", "module"), [("oversized", oversized), ("long_contexts", long_contexts)])
def test_what_reaches_nobody_is_not_proven(
    context: FaultContext, monkeypatch: pytest.MonkeyPatch, type_name: str, module: Any
) -> None:
    """The mutant of both proofs: requests that nobody takes are no effect."""

    async def nobody(*_: object) -> Reply:
        return Reply("none")

    async def drill() -> None:
        one = make(type_name, GATEWAY, **({"every": "0s"} if type_name == "oversized" else {"lasts": "100ms"}))
        await one.measure(context)
        monkeypatch.setattr(module, "send", nobody)
        effect = await one.run(context)
        assert not effect.proven
        assert effect.why.startswith("the fault had no effect: ")

    asyncio.run(drill())


def test_a_cap_is_lifted_and_comes_back(context: FaultContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the gateway's own word; and as many long contexts as that get to a replica at once."""
    monkeypatch.setattr(widened, "HEALED_WITHIN_S", 0.3)
    gateway = Haproxy(context.runtime, GATEWAY)
    before = gateway.long_connections()

    async def drill() -> None:
        one = make("widened", GATEWAY, connections=7)
        await one.measure(context)
        await one.inject(context)
        effect = await one.verify(context)
        assert effect.proven, effect.why
        assert gateway.long_connections() == dict.fromkeys(before, 7)
        left = (await one.verify_healed(context)).left
        assert left == f"{GATEWAY} gives long prompts at a time: replica-1: 7, replica-2: 7"
        take_back(context, one.undo())
        assert (await one.verify_healed(context)).proven

    asyncio.run(drill())
    assert gateway.long_connections() == before


@pytest.mark.parametrize("type_name", ["oversized", "long_contexts"])
def test_a_full_queue_after_the_asks_is_nothing_left(
    context: FaultContext, monkeypatch: pytest.MonkeyPatch, type_name: str
) -> None:
    """An ordinary request that is shed, or waits too long, is a matter of recovery."""
    monkeypatch.setattr(oversized, "HEALED_WITHIN_S", 0.3)

    async def shed(*_: object) -> PathSample:
        return PathSample("http_503", e2e_ms=3.0)

    async def drill() -> None:
        one = make(type_name, GATEWAY)
        await one.measure(context)
        monkeypatch.setattr(context.path, "through", shed)
        healed = await one.verify_healed(context)
        assert not healed.proven
        assert healed.left == ""
        assert "http_503" in healed.why

    asyncio.run(drill())


def test_a_cap_that_stays_is_not_lifted(context: FaultContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant of the proof: a gateway that takes the order and goes on as before."""
    monkeypatch.setattr(Haproxy, "set_long_connections", lambda *_: None)

    async def drill() -> None:
        one = make("widened", GATEWAY)
        await one.measure(context)
        await one.inject(context)
        effect = await one.verify(context)
        assert not effect.proven
        assert effect.why.startswith("the fault had no effect: ")

    asyncio.run(drill())


def test_an_answer_without_an_end_is_cut(context: FaultContext) -> None:
    """A deadline that passes is «hung», an answer that is no JSON error is refused without a message."""
    link = context.topology.link(f"client-to-{GATEWAY}")
    slow = oversized._json(oversized.chat(max_tokens=500, stream=True, ignore_eos=True))
    assert asyncio.run(send(context.path, link, Ask(slow, most_tokens=500), 0.5)).outcome == "hung"
    lost = asyncio.run(send(context.path, link, Ask(b"{}", path="/nowhere"), 2.0))
    assert (lost.outcome, lost.status, lost.layer, lost.code) == ("refused", 404, "gateway", "unknown_path")


def test_the_kernel_kills_and_the_replica_comes_back(
    told: tuple[FaultContext, list[dict[str, Any]]], limitable: None
) -> None:
    """The count is the proof; the limit is lifted at once, and it is back with the first token."""
    context, events = told

    async def drill() -> None:
        one = make("oom", REPLICA, headroom_mb=0)
        await one.measure(context)
        await one.inject(context)
        assert context.runtime.memory_limit(REPLICA) is None
        effect = await one.verify(context)
        assert effect.proven, effect.why
        assert "the kernel killed replica-2" in effect.why
        async with asyncio.timeout(60):
            await one.come_back(context)
        take_back(context, one.undo())
        healed = await one.verify_healed(context)
        assert healed.proven, healed.why

    asyncio.run(drill())
    assert [e["step"] for e in events] == ["killing", "killed", "limit_lifted", "ready", "first_token"]
    assert events[1]["oom_kills"] >= 1
    assert events[1]["emulated"] is None


@pytest.mark.parametrize("ignored", [(), ("limit_memory",)], ids=["a limit that nothing runs into", "no limit"])
def test_a_limit_that_kills_nobody_is_not_proven(
    context: FaultContext, monkeypatch: pytest.MonkeyPatch, limitable: None, ignored: tuple[str, ...]
) -> None:
    """The mutant of the proof."""
    monkeypatch.setattr(oom, "KILLED_WITHIN_S", 0.5)
    monkeypatch.setattr(oom, "_NOTICED_WITHIN_S", 0.2)

    async def drill() -> None:
        one = make("oom", REPLICA, headroom_mb=512)
        await one.measure(context)
        await one.inject(lame(context, *ignored))
        effect = await one.verify(context)
        assert not effect.proven
        assert "the fault had no effect: replica-2 was not killed" in effect.why
        with pytest.raises(TimeoutError):  # the replica that was there before is no replica that came back
            async with asyncio.timeout(1.0):
                await one.come_back(context)

    asyncio.run(drill())


@pytest.mark.parametrize(("headroom_mb", "killed"), [(0, True), (1, False)])
def test_what_the_kernel_can_reclaim_is_no_headroom(
    context: FaultContext, monkeypatch: pytest.MonkeyPatch, headroom_mb: int, killed: bool
) -> None:
    """A kernel that gives way by 30 MiB, and then kills only at the very edge: the limit follows until it does."""
    monkeypatch.setattr(oom, "KILLED_WITHIN_S", 3.0)
    used, edge = 500 * 1024**2, 470 * 1024**2

    class Reclaiming:
        """A runtime whose kernel has something to give back first."""

        limit = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(context.runtime, name)

        def limit_memory(self, name: str, limit_bytes: int | None) -> None:
            """As version 1 of cgroups does."""
            if limit_bytes is not None and limit_bytes < edge:
                raise StackError("more is in use")
            self.limit = limit_bytes or 0

        def stats(self, name: str) -> ComponentStats:
            """Killed when it is closer to the edge than a page's neighbours."""
            kills = int(0 <= self.limit - edge < 128 * 1024)
            return replace(context.runtime.stats(name), charged_bytes=used, oom_kills=kills)

    reclaiming = replace(context, runtime=Reclaiming())  # type: ignore[arg-type]

    async def drill() -> None:
        one = make("oom", REPLICA, headroom_mb=headroom_mb)
        await one.measure(reclaiming)
        await one.inject(reclaiming)
        assert one.killed is killed

    asyncio.run(drill())


def test_without_a_cgroup_it_is_emulated(told: tuple[FaultContext, list[dict[str, Any]]]) -> None:
    """Where no limit can be had its processes are killed, and everything about it says so."""
    context, events = told

    class NoCgroups:
        """The runtime of a machine that lets nobody limit memory."""

        def __getattr__(self, name: str) -> Any:
            return getattr(context.runtime, name)

        def limit_memory(self, name: str, limit_bytes: int | None) -> None:
            """Only lifting is harmless."""
            if limit_bytes is not None:
                raise UsageError("memory of processes can be limited only where cgroups can be made")

    poor = replace(context, runtime=NoCgroups())  # type: ignore[arg-type]

    async def drill() -> None:
        one = make("oom", REPLICA, headroom_mb=0)
        await one.measure(poor)
        await one.inject(poor)
        effect = await one.verify(poor)
        assert effect.proven, effect.why
        assert effect.why.startswith("emulated: ")

    asyncio.run(drill())
    (killed,) = [e for e in events if e.get("step") == "killed"]
    assert killed["oom_kills"] == 0
    assert "cgroups" in killed["emulated"]
