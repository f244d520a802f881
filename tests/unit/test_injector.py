"""One fault's life: what rolls it back is written first, its effect is proven, and proven again before the heal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.faults.base import Proof
from harness.model.errors import FaultError, OperationAborted
from harness.model.journal import Undo
from harness.run import injector
from harness.run.injector import Injector
from tests import sessions


def injecting(folder: Path) -> tuple[Injector, sessions.Log]:
    """An injector in a session with a stack that does whatever it is asked, and the session's log."""
    session = sessions.session(folder)
    session._context = SimpleNamespace()  # type: ignore[assignment]
    return Injector(session), sessions.log(session)


class _Fault:
    """Stands for a fault that does as it is told."""

    id, on, type = "cut/timeout/link", "link", "timeout"
    expected_disruptions: tuple[str, ...] = ()
    lasts, proven_again = True, True

    def __init__(self, *proven: bool) -> None:
        self.proven, self.asked = list(proven), asyncio.Event()

    def undo(self) -> Undo:
        """What rolls it back."""
        return Undo(self.id, "in the phase", {})

    async def inject(self, context: object) -> None:
        """It is there."""

    async def present(self, context: object) -> bool:
        """It is."""
        self.asked.set()
        return True

    async def verify(self, context: object) -> Proof:
        """The next one."""
        return Proof(self.proven.pop(0), "crossing took +3 ms", "", "")

    async def verify_healed(self, context: object) -> Proof:
        """The next one."""
        return Proof(self.proven.pop(0), "crossing took 3 ms", "", "", left="")


def test_the_life_of_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journal, injection, proof, heal, proof: in this order; while it is there, whoever holds it is asked for it."""
    order: list[str] = []

    async def life() -> None:
        one, log = injecting(tmp_path)
        fault: Any = _Fault(True, True, True)
        journal = one._session.journal
        monkeypatch.setattr(injector, "take_back", lambda context, undo: order.append(undo.action))
        monkeypatch.setattr(
            fault, "inject", lambda context: _noted(order, [undo.id for undo in journal.open_entries()])
        )
        await one.inject([fault], "cut")
        await asyncio.wait_for(fault.asked.wait(), 5)
        await one.prove(fault, "cut", again_s=0.0)
        await one.heal([fault], "cut")
        assert all(watch.done() for watch in one._watches)
        assert journal.open_entries() == []
        one.prove_healed([fault], "cut")
        await one.heals_proven()
        assert log.kinds == [
            "fault_injecting", "fault_injected", "fault_proven", "fault_proven_again", "fault_healing", "fault_healed",
            "heal_proven",
        ]  # fmt: skip
        assert {(event["fault"], event["phase"], event["on"]) for event in log.events} == {(fault.id, "cut", "link")}

    asyncio.run(life())
    assert order == [_Fault.id, "in the phase"]


async def _noted(order: list[str], entries: list[str]) -> None:
    order.extend(entries)


class _Workload:
    """Stands for a workload that is done when it is told so."""

    options = None
    targets = counts = staticmethod(lambda *_: {})
    id, phase, on, type = "cut/oversized/gateway-a", "cut", "gateway-a", "oversized"
    expected_disruptions: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    def undo(self) -> Undo:
        """There is nothing."""
        return Undo(self.id, "nothing_stays", {}, "cut")

    async def measure(self, context: object) -> None:
        """It is well."""

    async def run(self, context: object) -> Proof:
        """Until it is told."""
        await self.may_end.wait()
        return Proof(True, "22 requests were sent", "", "")

    async def verify_healed(self, context: object) -> Proof:
        """It is."""
        return Proof(True, "an ordinary request is answered", "", "")


def test_a_workload_is_done_not_injected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins with the phase, is carried out when it is done, and is recorded as a fault is; nothing looks whether
    it is there."""
    monkeypatch.setattr(injector, "take_back", lambda context, undo: None)

    async def life() -> None:
        one, log = injecting(tmp_path)
        workload: Any = _Workload()
        await one.inject([workload], "cut")
        assert one._watches == []
        running = asyncio.create_task(one.prove(workload, "cut", again_s=0.0))
        carried = asyncio.create_task(one.carry_out(workload))
        await asyncio.wait([carried], timeout=0.05)
        assert not carried.done()
        workload.may_end.set()
        await running
        await asyncio.wait_for(carried, 5)
        await one.heal([workload], "cut")
        one.prove_healed([workload], "cut")
        await one.heals_proven()
        assert log.kinds == [
            "fault_injecting", "fault_injected", "fault_proven", "fault_healing", "fault_healed", "heal_proven",
        ]  # fmt: skip

    asyncio.run(life())


class _Operation:
    """Stands for an operation that cannot go on where it is told so; it notes when it is asked for what."""

    options = None
    targets = counts = staticmethod(lambda *_: {})
    id, phase, on, type = "cut/restart/replica-1", "cut", "replica-1", "restart"
    expected_disruptions = ("restarts",)

    def __init__(self, order: list[str], proven: bool = True, why_not: str = "") -> None:
        self.order, self.proven, self.why_not = order, proven, why_not

    def undo(self) -> Undo:
        """What rolls it back."""
        return Undo(self.id, "bring_back", {}, "cut")

    async def measure(self, context: object) -> None:
        """It is well."""

    async def begin(self, context: object) -> None:
        """It is under way."""
        self.order.append("begin")

    async def verify(self, context: object) -> Proof:
        """As it was told."""
        self.order.append("verify")
        return Proof(self.proven, "another process", "", "")

    async def carry_out(self, context: object) -> None:
        """To its end, or not."""
        self.order.append("carry out")
        if self.why_not:
            raise OperationAborted(self.why_not)

    async def verify_healed(self, context: object) -> Proof:
        """It is."""
        return Proof(True, "it is used as before", "", "")


def operated(operation: Any, folder: Path) -> sessions.Log:
    """The log of an operation's whole life."""

    async def life() -> sessions.Log:
        one, log = injecting(folder)
        one._session.context.tell = log.add  # type: ignore[misc]
        journal = one._session.journal
        carried = asyncio.create_task(one.carry_out(operation))
        await one.inject([operation], "cut")
        assert [undo.id for undo in journal.open_entries()] == [operation.id]
        assert one._watches == []
        await asyncio.wait([carried], timeout=0.05)
        assert not carried.done()
        await one.prove(operation, "cut", again_s=0.0)
        await asyncio.wait_for(carried, 5)
        await one.heal([operation], "cut")
        assert journal.open_entries() == []
        one.prove_healed([operation], "cut")
        await one.heals_proven()
        return log

    return asyncio.run(life())


@pytest.mark.parametrize("proven", [True, False])
def test_an_operation_is_carried_out_between_its_proof_and_its_heal(
    proven: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the proof says; it is in the journal before it begins, and is recorded as a fault is."""
    order: list[str] = []
    monkeypatch.setattr(injector, "take_back", lambda context, undo: order.append(undo.action))
    log = operated(_Operation(order, proven), tmp_path)
    assert order == ["begin", "verify", "carry out", "bring_back"]
    assert log.kinds == [
        "fault_injecting", "fault_injected", "fault_proven" if proven else "fault_unproven", "fault_healing",
        "fault_healed", "heal_proven",
    ]  # fmt: skip


def test_an_operation_that_cannot_go_on_says_why_and_is_rolled_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of the record, in words; the run goes on to the heal."""
    order: list[str] = []
    monkeypatch.setattr(injector, "take_back", lambda context, undo: order.append(undo.action))
    log = operated(_Operation(order, why_not="replica-1 could not be used within 20 s"), tmp_path)
    assert order[-1] == "bring_back"
    (step,) = [event for event in log.events if event["kind"] == "fault_step"]
    assert step == {
        "kind": "fault_step", "fault": _Operation.id, "phase": "cut", "on": "replica-1", "step": "aborted",
        "why": "replica-1 could not be used within 20 s",
    }  # fmt: skip
    assert log.kinds.index("fault_step") == log.kinds.index("fault_healing") - 1


def test_a_comeback_does_not_wait_for_the_proof(tmp_path: Path) -> None:
    """A component that is down for so long starts at its time; a fault that stays as it is has nothing to carry out."""
    fault: Any = _Fault()
    order: list[str] = []

    async def drill() -> None:
        one, _ = injecting(tmp_path)
        await asyncio.wait_for(one.carry_out(fault), 5)
        fault.come_back = lambda context: _noted(order, ["back"])
        await asyncio.wait_for(one.carry_out(fault), 5)

    asyncio.run(drill())
    assert order == ["back"]


def test_what_cannot_be_written_down_is_not_injected(tmp_path: Path) -> None:
    """Nobody could take it back."""
    one, log = injecting(tmp_path / "gone")
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(one.inject([_Fault()], "cut"))  # type: ignore[list-item]
    assert caught.group_contains(FaultError, match="nothing is injected")
    assert log.kinds == []


def test_a_fault_and_the_proof_of_a_heal_are_not_asked_for_beyond_the_way_out(tmp_path: Path) -> None:
    """It ends them before it takes anything back."""

    async def life() -> None:
        one, _ = injecting(tmp_path)
        fault: Any = _Fault()
        await one.inject([fault], "cut")
        one.heal_proofs.append(asyncio.create_task(asyncio.Event().wait()))  # type: ignore[arg-type]
        (end,) = one._session.before_heal
        await end()
        assert all(task.done() for task in (*one._watches, *one.heal_proofs))

    asyncio.run(life())


@pytest.mark.parametrize(
    ("proven", "again", "kinds"),
    [
        ([True, True], True, ["fault_proven", "fault_proven_again"]),
        ([True, False], True, ["fault_proven", "fault_lost"]),
        ([True], False, ["fault_proven"]),
        ([False], True, ["fault_unproven"]),
    ],
)
def test_an_effect_is_proven_again(proven: list[bool], again: bool, kinds: list[str], tmp_path: Path) -> None:
    """Where it can be, and where it was proven at all; what is lost by then is recorded."""
    (one, log), fault = injecting(tmp_path), _Fault(*proven)
    fault.proven_again = again  # type: ignore[misc]
    asyncio.run(one.prove(fault, "cut", again_s=0.0))  # type: ignore[arg-type]
    assert log.kinds == kinds
    assert fault.proven == []


@pytest.mark.parametrize(("proven", "told"), [(True, "heal_proven"), (False, "heal_unproven")])
def test_a_heal_that_is_not_proven_says_what_is_left(proven: bool, told: str, tmp_path: Path) -> None:
    """And one that is has nothing to say of that."""

    async def life() -> list[dict[str, Any]]:
        one, log = injecting(tmp_path)
        one.prove_healed([_Fault(proven)], "cut")  # type: ignore[list-item]
        await one.heals_proven()
        return log.events

    (event,) = asyncio.run(life())
    assert event["kind"] == told
    assert ("left" in event) == (not proven)


class _Stays(_Fault):
    """Stands for a fault of which something stays."""

    id, on, type = "swap/swap/replica-2", "replica-2", "swap"

    def deferred_rollback(self) -> Undo | None:
        """What is rolled back later."""
        return Undo(f"{self.id}/version", "in the end", {})

    async def verify_reverted(self, context: object) -> Proof:
        """It is."""
        return Proof(True, "gone", "", "")


def test_what_users_would_feel_stays_in_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its phase it is written down, so that whoever comes after a crash finds it; it goes when it is asked for."""
    done: list[str] = []
    monkeypatch.setattr(injector, "take_back", lambda context, undo: done.append(undo.action))

    async def life() -> None:
        one, log = injecting(tmp_path)
        journal = one._session.journal
        await one.heal([_Stays()], "swap")  # type: ignore[list-item]
        assert done == ["in the phase"]
        assert [undo.id for undo in journal.open_entries()] == ["swap/swap/replica-2/version"]
        await one.take_back_what_stays()
        assert journal.open_entries() == []
        assert log.kinds == ["fault_healing", "fault_stays", "fault_healed", "fault_healed", "heal_proven"]

    asyncio.run(life())
    assert done == ["in the phase", "in the end"]
