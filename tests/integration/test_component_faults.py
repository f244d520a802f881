"""Faults of whole components on a simulated stack: proven by their signs of life, and brought back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from harness.faults import component, kill, memory, pause, stop
from harness.faults.base import ComesBack, Fault, FaultContext, fault_class, take_back, types
from harness.model.errors import FaultError, StackError, UsageError
from harness.model.journal import Undo
from harness.model.options import model
from harness.model.topology import Topology
from harness.probes.health import probe
from stack.runtimes import readiness, supervisor
from stack.runtimes.process import ProcessRuntime
from stack.stacks.vllm_haproxy import STACK
from tests.waiting import until

PAUSE, STOP, KILL = pause.FAULT.type, stop.FAULT.type, kill.FAULT.type
#: Every role is met once at least, and every fault on a replica and a gateway.
CASES = [
    (PAUSE, "replica-2"),
    (PAUSE, "gateway-a"),
    (PAUSE, "dns"),
    (STOP, "replica-2"),
    (STOP, "gateway-b"),
    (STOP, "toxiproxy"),
    (STOP, "exporter"),
    (KILL, "replica-1"),
    (KILL, "gateway-a"),
    (KILL, "toxiproxy"),
    (KILL, "dns"),
    (KILL, "prometheus"),
    (KILL, "alertmanager"),
]


@pytest.fixture(autouse=True)
def _brief_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator answers within milliseconds, and supervisord notices within a second."""
    monkeypatch.setattr(component, "LOOK_S", 1.0)
    monkeypatch.setattr(kill, "NOTICED_WITHIN_S", 1.0)
    monkeypatch.setattr(kill, "BREAKS_WITHIN_S", 0.5)


@pytest.fixture(autouse=True)
def _whole_again(context: FaultContext) -> Iterator[None]:
    """No test leaves anything down, whatever becomes of it."""
    yield
    for state in context.runtime.states():
        context.runtime.limit_memory(state.name, None)
        context.runtime.unpause(state.name)
        context.runtime.start(state.name)
    until(lambda: not readiness.unready(context.topology), 60)


def make(type_name: str, on: str, **options: Any) -> Fault:
    """A fault as ``of_phase`` makes it."""
    cls = fault_class(type_name)
    return cls("test", on, model(type_name).model_validate(options))


class Lame:
    """A runtime that says nothing and does not do what is listed in ``ignored``."""

    def __init__(self, runtime: Any, *ignored: str) -> None:
        self._runtime, self._ignored = runtime, ignored

    def __getattr__(self, name: str) -> Any:
        """What the real one has, or nothing at all."""
        return (lambda *_: None) if name in self._ignored else getattr(self._runtime, name)


def lame(context: FaultContext, *ignored: str) -> FaultContext:
    """The world with such a runtime."""
    return replace(context, runtime=Lame(context.runtime, *ignored))  # type: ignore[arg-type]


@pytest.mark.parametrize(("type_name", "on"), CASES)
def test_fault_is_proven_and_healed(context: FaultContext, type_name: str, on: str) -> None:
    """Measure, inject, prove, take back, prove the healing; taking back twice is harmless."""

    async def drill() -> None:
        one = make(type_name, on)
        await one.measure(context)
        await one.inject(context)
        effect = await one.verify(context)
        assert effect.proven, effect.why
        assert effect.seen != effect.before
        assert not one.lasts or await one.present(context) is True
        for _ in range(2):
            await asyncio.to_thread(take_back, context, one.undo())
        healed = await one.verify_healed(context)
        assert healed.proven, healed.why
        assert not one.lasts or await one.present(context) is False
        assert (await probe(context.path, context.topology.component(on), 5.0)).works

    asyncio.run(drill())


@pytest.mark.parametrize(("on", "told"), [("replica-2", ["ready", "first_token"]), ("gateway-b", [])])
def test_what_was_killed_is_kept_down_for_its_time_and_comes_back(
    context: FaultContext, on: str, told: list[str]
) -> None:
    """Nothing else starts it before; a replica is back with its first token, anything else when it was started."""
    steps: list[str] = []
    listening = replace(context, tell=lambda kind, **data: steps.append(data["step"]))

    def state() -> str:
        return next(one.state for one in context.runtime.states() if one.name == on)

    async def drill() -> None:
        one = make(KILL, on, down_for="2s")
        assert isinstance(one, ComesBack)
        await one.measure(listening)
        killed = time.monotonic()
        await one.inject(listening)
        assert state() == "stopped"
        async with asyncio.timeout(60):
            await one.come_back(listening)
        assert time.monotonic() - killed >= 2.0
        assert state() != "stopped"

    asyncio.run(drill())
    assert steps == ["killing", "killed", *told]


@pytest.mark.parametrize("type_name", [PAUSE, STOP, KILL])
@pytest.mark.parametrize("on", ["replica-2", "gateway-a", "dns"])
def test_fault_that_the_runtime_did_not_inject_is_not_proven(context: FaultContext, type_name: str, on: str) -> None:
    """The mutant of every proof: an order that is taken and not carried out has no effect."""

    async def drill() -> None:
        one = make(type_name, on)
        await one.measure(context)
        await one.inject(lame(context, type_name))
        effect = await one.verify(context)
        assert not effect.proven
        assert f"the fault had no effect: {on}" in effect.why

    asyncio.run(drill())


@pytest.mark.parametrize(("type_name", "heal"), [(PAUSE, "unpause"), (STOP, "start")])
def test_heal_that_the_runtime_did_not_do_is_not_proven(
    context: FaultContext, monkeypatch: pytest.MonkeyPatch, type_name: str, heal: str
) -> None:
    """The mutant of every heal: verify_healed waits, bounded, and says what the runtime says."""
    monkeypatch.setattr(component, "HEALED_WITHIN_S", 0.5)

    async def drill() -> None:
        one = make(type_name, "replica-2")
        await one.measure(context)
        await one.inject(context)
        await asyncio.to_thread(take_back, lame(context, heal), one.undo())
        healed = await one.verify_healed(context)
        assert not healed.proven
        assert healed.left == f"replica-2 is {'paused' if type_name == PAUSE else 'stopped'}"

    asyncio.run(drill())


def test_a_deaf_replica_is_not_a_stopped_one(context: FaultContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token in time but an answer on /health: something else is wrong with it, and that proves no pause."""

    async def never(*_: object) -> None:
        return None

    async def drill() -> None:
        one = make(PAUSE, "replica-2")
        await one.measure(context)
        monkeypatch.setattr("harness.probes.health.synthetic", never)
        effect = await one.verify(context)
        assert not effect.proven
        assert "/health: 200" in effect.seen

    asyncio.run(drill())


def test_fault_on_a_dead_component_is_refused(context: FaultContext) -> None:
    """What does not work before the fault cannot show its effect."""
    context.runtime.stop("exporter", 5)
    with pytest.raises(FaultError, match="exporter does not work before the fault"):
        asyncio.run(make(KILL, "exporter").measure(context))


def test_start_ends_what_hangs_in_its_stop(context: FaultContext, sim_stack: ProcessRuntime) -> None:
    """A harness that died in the middle of a stop leaves a process that supervisord waits an hour for."""
    control = supervisor.Supervisor(sim_stack._supervisor()._socket.parent)
    sim_stack.pause("alertmanager")
    control.stop("alertmanager")
    assert control.program("alertmanager").state == "STOPPING"
    take_back(context, Undo("x", "start", {"component": "alertmanager"}))
    assert control.program("alertmanager").state in ("STARTING", "RUNNING")


def test_start_does_not_wait_for_the_next_try(context: FaultContext, sim_stack: ProcessRuntime) -> None:
    """What died while it was starting is started now, not after supervisord's growing pauses."""

    def back_off() -> bool:
        with suppress(StackError):  # it is not there at this instant
            sim_stack.kill("alertmanager")
        return state() == "BACKOFF"

    def state() -> str:
        return sim_stack._supervisor().program("alertmanager").state

    until(back_off)
    take_back(context, Undo("x", "start", {"component": "alertmanager"}))
    assert state() in ("STARTING", "RUNNING")


def test_toxiproxy_is_never_frozen() -> None:
    """The faults of links are rolled back through it."""
    assert "toxiproxy" not in fault_class(PAUSE).targets(Topology(STACK))
    assert {PAUSE, STOP, KILL} <= set(types())


@pytest.fixture
def limitable(context: FaultContext) -> None:
    """Skips where this machine lets nobody limit the memory of processes."""
    try:
        context.runtime.limit_memory("exporter", 1024**3)
    except UsageError as error:
        pytest.skip(str(error))
    assert context.runtime.memory_limit("exporter") == 1024**3
    context.runtime.limit_memory("exporter", None)
    assert context.runtime.memory_limit("exporter") is None


def test_a_replica_without_memory_is_killed_and_comes_back(context: FaultContext, limitable: None) -> None:
    """The kernel's own counts are the proof; taking back twice is harmless and leaves no limit."""

    async def drill() -> None:
        one = make(memory.FAULT.type, "replica-2", headroom_mb=0)
        await one.measure(context)
        await one.inject(context)
        effect = await one.verify(context)
        assert effect.proven, effect.why
        for _ in range(2):
            await asyncio.to_thread(take_back, context, one.undo())
        healed = await one.verify_healed(context)
        assert healed.proven, healed.why
        assert context.runtime.memory_limit("replica-2") is None

    asyncio.run(drill())


@pytest.mark.parametrize("ignored", [(), ("limit_memory",)], ids=["a limit that nothing runs into", "no limit"])
def test_memory_that_suffices_is_no_effect(
    context: FaultContext, monkeypatch: pytest.MonkeyPatch, limitable: None, ignored: tuple[str, ...]
) -> None:
    """The mutant of the proof: a limit alone breaks nothing, and no limit even less."""
    monkeypatch.setattr(memory, "HIT_WITHIN_S", 0.5)

    async def drill() -> None:
        one = make(memory.FAULT.type, "replica-2", headroom_mb=512)
        await one.measure(context)
        await one.inject(lame(context, *ignored))
        effect = await one.verify(context)
        assert not effect.proven
        assert "the fault had no effect: " in effect.why
        assert "replica-2" in effect.why
        assert context.runtime.memory_limit("replica-2") == (None if ignored else 512 * 1024**2)

    asyncio.run(drill())


def test_a_limit_that_stays_is_not_healed(
    context: FaultContext, monkeypatch: pytest.MonkeyPatch, limitable: None
) -> None:
    """The replica works, and yet something of the fault is left."""
    monkeypatch.setattr(component, "HEALED_WITHIN_S", 0.5)

    async def drill() -> None:
        one = make(memory.FAULT.type, "replica-2", headroom_mb=512)
        await one.measure(context)
        await one.inject(context)
        await asyncio.to_thread(take_back, lame(context, "limit_memory"), one.undo())
        healed = await one.verify_healed(context)
        assert not healed.proven
        assert "limited to 536870912 bytes" in (healed.left or "")

    asyncio.run(drill())


def test_memory_that_nobody_tells_is_not_limited(context: FaultContext) -> None:
    """Unknown is not zero: a limit of nothing is no limit in Docker, and a sure death elsewhere."""

    async def drill() -> None:
        one = make("memory", "replica-2", headroom_mb=0)
        await one.measure(context)
        one.stats_before = replace(one.stats_before, charged_bytes=None)  # type: ignore[attr-defined]
        with pytest.raises(FaultError, match="nobody tells how much memory replica-2 holds"):
            await one.inject(context)

    asyncio.run(drill())
    assert context.runtime.memory_limit("replica-2") is None
