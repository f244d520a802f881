"""Faults of a replica at the gateways, on real HAProxy: proven by the gateways' word and by who answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from harness.adapters.gateway import Server
from harness.adapters.gateways.haproxy import Haproxy
from harness.faults import drain, server, weight
from harness.faults.base import Fault, FaultContext, fault_class, take_back
from harness.model.errors import AdapterError, FaultError
from harness.model.journal import Undo
from harness.model.options import model
from stack.stacks.vllm_haproxy import STACK

CASES: list[tuple[str, dict[str, Any]]] = [
    (drain.FAULT.type, {}),
    (drain.FAULT.type, {"gateways": ["gateway-b"]}),
    (weight.FAULT.type, {"percent": 0}),
    (weight.FAULT.type, {"percent": 20}),
]
AS_CONFIGURED = Server("ready", 100)


def make(type_name: str, options: dict[str, Any]) -> Fault:
    """A fault as ``of_phase`` makes it."""
    cls = fault_class(type_name)
    return cls("test", "replica-2", model(type_name).model_validate(options))


def servers(context: FaultContext) -> dict[str, Server]:
    """What each gateway says about replica-2."""
    return {gateway: Haproxy(context.runtime, gateway).servers()["replica-2"] for gateway in STACK.of("gateway")}


@pytest.fixture(autouse=True)
def _as_configured(context: FaultContext) -> Iterator[None]:
    """No test leaves a gateway with another opinion, whatever becomes of it."""
    yield
    for gateway in STACK.of("gateway"):
        Haproxy(context.runtime, gateway).set_state("replica-2", "ready")
        Haproxy(context.runtime, gateway).set_weight("replica-2", 100)


class Elsewhere:
    """A runtime whose orders reach gateways that nobody uses: they are obeyed, and change nothing for clients."""

    def __init__(self, runtime: Any) -> None:
        self._runtime, self.topology = runtime, runtime.topology
        self._told: dict[str, str] = {}

    def gateway_command(self, gateway: str, command: str) -> str:
        """Answers as if the order had been carried out."""
        asked = []
        for one in command.split("; "):
            words = one.split()
            if words[0] == "set":
                self._told[words[1]] = words[-1]
            else:
                asked.append(one)
        lines = str(self._runtime.gateway_command(gateway, "; ".join(asked))).splitlines()
        return "\n".join(self._as_told(line) if " replica-2 " in line else line for line in lines)

    def _as_told(self, line: str) -> str:
        fields = line.split()
        fields[6] = "8" if self._told.get("server") == "drain" else fields[6]
        fields[7] = self._told.get("weight", fields[7]).removesuffix("%")
        return " ".join(fields)


@pytest.mark.parametrize(("type_name", "options"), CASES)
def test_fault_is_proven_and_healed(context: FaultContext, type_name: str, options: dict[str, Any]) -> None:
    """Measure, inject, prove, take back, prove the healing; other gateways are left alone; twice is harmless."""

    async def drill() -> None:
        one = make(type_name, options)
        await one.measure(context)
        await one.inject(context)
        meant = options.get("gateways", STACK.of("gateway"))
        assert {g for g, found in servers(context).items() if found != AS_CONFIGURED} == set(meant)
        effect = await one.verify(context)
        assert effect.proven, effect.why
        assert "ready, 100 %" in effect.before
        assert "ready, 100 %" not in effect.seen
        assert await one.present(context) is True
        for _ in range(2):
            await asyncio.to_thread(take_back, context, one.undo())
        healed = await one.verify_healed(context)
        assert healed.proven, healed.why
        assert set(servers(context).values()) == {AS_CONFIGURED}
        assert await one.present(context) is False

    asyncio.run(drill())


@pytest.mark.parametrize(("type_name", "options"), [CASES[0], *CASES[2:]])
def test_orders_that_change_nothing_for_clients_are_not_proven(
    context: FaultContext, type_name: str, options: dict[str, Any]
) -> None:
    """The mutant of every proof: the gateways' own word is right, and the replica answers as before."""

    async def drill() -> None:
        one = make(type_name, options)
        await one.measure(context)
        mutant = replace(context, runtime=Elsewhere(context.runtime))  # type: ignore[arg-type]
        await one.inject(mutant)
        effect = await one.verify(mutant)
        assert not effect.proven
        assert "the fault had no effect: replica-2" in effect.why

    asyncio.run(drill())


def test_answers_without_the_gateways_word_are_no_proof(context: FaultContext) -> None:
    """A replica that is down gives no answers either: that is no drain."""

    async def drill() -> None:
        one = make("drain", {})
        await one.measure(context)
        Haproxy(context.runtime, "gateway-a").set_weight("replica-2", 0)
        Haproxy(context.runtime, "gateway-b").set_weight("replica-2", 0)
        effect = await one.verify(context)
        assert not effect.proven
        assert "has not drained replica-2" in effect.why

    asyncio.run(drill())


def test_a_server_that_stays_drained_is_not_healed(context: FaultContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant of every heal: verify_healed waits, bounded, and says what the gateways say."""
    monkeypatch.setattr(server, "HEALED_WITHIN_S", 0.3)

    async def drill() -> None:
        one = make("drain", {"gateways": ["gateway-a"]})
        await one.measure(context)
        await one.inject(context)
        healed = await one.verify_healed(context)
        assert not healed.proven
        assert "gateway-a: drain" in healed.seen
        assert healed.left == "gateway-a has replica-2 as drain with 100 %"

    asyncio.run(drill())


def test_a_replica_that_is_not_used_cannot_be_drained(context: FaultContext) -> None:
    """What gave no answers before shows no effect when it gives none."""
    Haproxy(context.runtime, "gateway-a").set_weight("replica-2", 0)
    with pytest.raises(FaultError, match="gateway-a does not use replica-2 before the fault"):
        asyncio.run(make("drain", {}).measure(context))


def test_restore_is_harmless_at_a_gateway_that_was_stopped(context: FaultContext) -> None:
    """It has forgotten what it was told; a gateway that runs and does not obey is an error."""
    args = {"gateway": "gateway-b", "replica": "replica-2", "state": "ready", "weight": 100}
    context.runtime.stop("gateway-b", 5)
    try:
        take_back(context, Undo("x", "restore_server", args))
    finally:
        context.runtime.start("gateway-b")
    take_back(context, Undo("x", "restore_server", args))
    assert servers(context)["gateway-b"] == AS_CONFIGURED


def test_a_gateway_that_runs_and_does_not_obey_is_an_error(
    context: FaultContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its drain would outlive the run: the others are restored, and the journal keeps the entry."""
    monkeypatch.setattr(server, "TAKES_ORDERS_WITHIN_S", 0.3)
    args = {"replica": "replica-9", "state": "ready", "weight": 100}
    good = {"gateway": "gateway-b", "replica": "replica-2", "state": "ready", "weight": 100}
    Haproxy(context.runtime, "gateway-b").set_state("replica-2", "drain")
    with pytest.raises(AdapterError, match="replica-9"):
        take_back(context, Undo("x", "restore_servers", {"servers": [{"gateway": "gateway-a", **args}, good]}))
    assert servers(context)["gateway-b"] == AS_CONFIGURED


def test_unknown_gateways_are_refused() -> None:
    """Before anything is started."""
    known = {"gateways": STACK.of("gateway")}
    with pytest.raises(ValidationError, match="gateway-c"):
        model("drain").model_validate({"gateways": ["gateway-c"]}, context=known)
    with pytest.raises(ValidationError):
        make("weight", {"percent": 100})
