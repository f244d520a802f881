"""Restarts in order and deaf replicas, on a simulated stack: proven and rolled back; and not proven when not done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from harness.adapters.gateway import Server
from harness.adapters.gateways.haproxy import Haproxy
from harness.adapters.simulator import Simulator
from harness.faults import component, deaf, pause
from harness.faults.base import FaultContext, take_back
from harness.faults.operations import restart
from harness.model.options import NoOptions, model
from stack.runtimes import readiness
from stack.stacks.vllm_haproxy import STACK
from tests.waiting import WITHIN_S, until

REPLICA = "replica-2"


@pytest.fixture(autouse=True)
def _whole_again(context: FaultContext, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Looks are brief; and no test leaves anything down, drained or deaf."""
    monkeypatch.setattr(component, "LOOK_S", 1.0)
    yield
    context.runtime.unpause(REPLICA)
    context.runtime.start(REPLICA)
    for gateway in STACK.of("gateway"):
        Haproxy(context.runtime, gateway).set_state(REPLICA, "ready")
    until(lambda: not readiness.unready(context.topology), WITHIN_S, "the stack is whole again")
    Simulator(context.topology.component(REPLICA).url()).heal()


def restarting(**options: Any) -> restart.Restart:
    """A restart of replica-2 as ``of_phase`` makes it."""
    return restart.OPERATION("test", REPLICA, model("restart").model_validate(options))


def deafening() -> deaf.Deaf:
    """A fault of replica-2 as ``of_phase`` makes it."""
    return deaf.FAULT("test", REPLICA, NoOptions())


def test_a_restart_in_order_is_proven_carried_out_and_given_back(context: FaultContext) -> None:
    """Drained, ended, started, ready, first token, in this order; and the gateways use it as before."""
    steps: list[str] = []
    told = replace(context, tell=lambda kind, **data: steps.append(data["step"]))

    async def drill() -> None:
        one = restarting()
        await one.measure(told)
        await one.begin(told)
        proof = await one.verify(told)
        assert proof.proven, proof
        assert {Haproxy(told.runtime, g).servers()[REPLICA].state for g in STACK.of("gateway")} == {"drain"}
        async with asyncio.timeout(60):
            await one.carry_out(told)
        for _ in range(2):  # twice is harmless
            take_back(told, one.undo())
        healed = await one.verify_healed(told)
        assert healed.proven, healed

    asyncio.run(drill())
    assert steps == ["drained", "stopping", "stopped", "started", "ready", "first_token"]
    assert {Haproxy(context.runtime, g).servers()[REPLICA] for g in STACK.of("gateway")} == {Server("ready", 100)}


def test_a_restart_waits_for_streams_to_come_and_to_end(context: FaultContext) -> None:
    """It is not begun before some run, nor ended while they do; what takes longer than that is not waited for."""
    left: dict[str, int] = {}
    gateway = Haproxy(context.runtime, "gateway-a")

    def tell(kind: str, *, step: str, **data: Any) -> None:
        left[step] = data.get("streams", gateway.sessions()[REPLICA])

    async def drill() -> None:
        told = replace(context, tell=tell)
        one = restarting(drain_within="300ms", streams=2)
        await one.measure(told)
        Simulator(context.topology.component(REPLICA).url()).behave({"slow_factor": 50})
        order = asyncio.create_task(one.begin(told))
        asked = [asyncio.create_task(context.path.through("gateway-a", 10)) for _ in range(8)]
        await order
        await asyncio.gather(*asked)
        take_back(told, one.undo())

    asyncio.run(drill())
    assert left["drained"] >= 2
    assert left["stopping"] > 0


def test_a_deaf_replica_is_proven_by_both_halves(context: FaultContext) -> None:
    """No token, and a health check that is as good as ever; it hears again after the heal."""

    async def drill() -> None:
        one = deafening()
        await one.measure(context)
        await one.inject(context)
        proof = await one.verify(context)
        assert proof.proven, proof
        assert "/health: 200" in proof.seen
        for _ in range(2):
            take_back(context, one.undo())
        healed = await one.verify_healed(context)
        assert healed.proven, healed

    asyncio.run(drill())


def test_a_replica_that_stays_deaf_is_left(context: FaultContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant of its heal: by the simulator's own switch; one that is only slow has nothing left."""
    monkeypatch.setattr(component, "HEALED_WITHIN_S", 0.3)
    simulator = Simulator(context.topology.component(REPLICA).url())

    async def drill() -> None:
        one = deafening()
        await one.measure(context)
        await one.inject(context)
        healed = await one.verify_healed(context)
        assert not healed.proven
        assert healed.left == f"the switch «hang» of {REPLICA} is on"
        take_back(context, one.undo())
        simulator.behave({"slow_factor": 500})
        slow = await one.verify_healed(context)
        assert not slow.proven, slow
        assert slow.left == "", slow

    try:
        asyncio.run(drill())
    finally:
        simulator.heal()  # so slow it would not count as ready


def test_a_frozen_replica_is_not_deaf(context: FaultContext) -> None:
    """It makes no token either, but its health check is silent: another fault, and an easier one."""

    async def drill() -> None:
        one = deafening()
        await one.measure(context)
        frozen = pause.FAULT("test", REPLICA, NoOptions())
        await frozen.inject(context)
        proof = await one.verify(context)
        assert not proof.proven
        assert "not deaf but down" in proof.why

    asyncio.run(drill())


class Idle:
    """A runtime that takes every order and carries none out."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        """Everything else is the runtime's."""
        return getattr(self._runtime, name)

    def stop(self, name: str, grace_s: float) -> None:
        """Does not."""

    def start(self, name: str) -> None:
        """Does not."""


@pytest.mark.parametrize("kind", [restarting, deafening])
def test_what_is_not_done_is_not_proven(
    context: FaultContext, kind: Callable[[], restart.Restart | deaf.Deaf], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The orders are taken, and nothing happens: «no effect»."""
    idle = replace(context, runtime=Idle(context.runtime))
    monkeypatch.setattr(Simulator, "behave", lambda *_: None)

    async def drill() -> None:
        one = kind()
        await one.measure(idle)
        await (one.begin(idle) if isinstance(one, restart.Restart) else one.inject(idle))
        proof = await one.verify(idle)
        assert not proof.proven
        assert "had no effect" in proof.why

    asyncio.run(drill())
