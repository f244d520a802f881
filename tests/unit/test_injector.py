"""One fault's life: what takes it back is written first, its effect is proven, and proven again before the heal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.faults.base import Proof
from harness.model.errors import FaultError
from harness.model.journal import Undo
from harness.run import injector
from harness.run.injector import Injector
from tests import sessions


def injecting(folder: Path) -> tuple[Injector, sessions.Log]:
    """An injector in a session with a stack that does whatever it is asked, and the session's log."""
    session = sessions.session(folder)
    session._world = SimpleNamespace()  # type: ignore[assignment]
    return Injector(session), sessions.log(session)


class _Fault:
    """Stands for a fault that does as it is told."""

    id, on, type = "cut/timeout/link", "link", "timeout"
    excuses: tuple[str, ...] = ()
    lasts, proven_again = True, True

    def __init__(self, *proven: bool) -> None:
        self.proven, self.asked = list(proven), asyncio.Event()

    def undo(self) -> Undo:
        """What takes it back."""
        return Undo(self.id, "in the phase", {})

    async def inject(self, world: object) -> None:
        """It is there."""

    async def present(self, world: object) -> bool:
        """It is."""
        self.asked.set()
        return True

    async def verify(self, world: object) -> Proof:
        """The next one."""
        return Proof(self.proven.pop(0), "crossing took +3 ms", "", "")

    async def verify_healed(self, world: object) -> Proof:
        """The next one."""
        return Proof(self.proven.pop(0), "crossing took 3 ms", "", "", left="")


def test_the_life_of_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journal, injection, proof, heal, proof: in this order; while it is there, whoever holds it is asked for it."""
    order: list[str] = []

    async def life() -> None:
        one, log = injecting(tmp_path)
        fault: Any = _Fault(True, True, True)
        journal = one._session.journal
        monkeypatch.setattr(injector, "take_back", lambda world, undo: order.append(undo.action))
        monkeypatch.setattr(fault, "inject", lambda world: _noted(order, [undo.id for undo in journal.open_entries()]))
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

    Options, options = object, None
    targets = counts = staticmethod(lambda *_: {})
    id, phase, on, type = "cut/oversized/gateway-a", "cut", "gateway-a", "oversized"
    excuses: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    def undo(self) -> Undo:
        """There is nothing."""
        return Undo(self.id, "nothing_stays", {}, "cut")

    async def measure(self, world: object) -> None:
        """It is well."""

    async def run(self, world: object) -> Proof:
        """Until it is told."""
        await self.may_end.wait()
        return Proof(True, "22 requests were sent", "", "")

    async def verify_healed(self, world: object) -> Proof:
        """It is."""
        return Proof(True, "an ordinary request is answered", "", "")


def test_a_workload_is_done_not_injected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins with the phase, has settled when it is done, and is recorded as a fault is; nothing looks whether it
    is there."""
    monkeypatch.setattr(injector, "take_back", lambda world, undo: None)

    async def life() -> None:
        one, log = injecting(tmp_path)
        workload: Any = _Workload()
        await one.inject([workload], "cut")
        assert one._watches == []
        running = asyncio.create_task(one.prove(workload, "cut", again_s=0.0))
        await asyncio.sleep(0)
        assert not await one.settled(workload)
        workload.may_end.set()
        await running
        assert await one.settled(workload)
        await one.heal([workload], "cut")
        one.prove_healed([workload], "cut")
        await one.heals_proven()
        assert log.kinds == [
            "fault_injecting", "fault_injected", "fault_proven", "fault_healing", "fault_healed", "heal_proven",
        ]  # fmt: skip

    asyncio.run(life())


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

    def stays(self) -> Undo | None:
        """What is taken back later."""
        return Undo(f"{self.id}/version", "in the end", {})

    async def verify_gone(self, world: object) -> Proof:
        """It is."""
        return Proof(True, "gone", "", "")


def test_what_users_would_feel_stays_in_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its phase it is written down, so that whoever comes after a crash finds it; it goes when it is asked for."""
    done: list[str] = []
    monkeypatch.setattr(injector, "take_back", lambda world, undo: done.append(undo.action))

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
