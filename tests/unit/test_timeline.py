"""Phases: how long each lasts, and what has to be so before the next one begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.adapters.load import Window
from harness.model.errors import FaultError, StackError
from harness.model.scenario import Phase
from harness.run import timeline
from harness.run.injector import Injector
from harness.run.timeline import Timeline
from tests import runs, sessions

RECOVERY = Phase.model_validate({"name": "recovery", "kind": "recovery", "duration": "1s"})
BASELINE = Phase.model_validate({"name": "baseline", "kind": "baseline", "duration": "1s"})
BROKEN = Phase.model_validate(
    {"name": "outage", "kind": "fault", "duration": "1s", "faults": [{"type": "pause", "on": "dns"}]}
)


def played(folder: Path, load: object = None, clock: Callable[[], float] = lambda: 0.0) -> Timeline:
    """A timeline on a session with that load, by that clock."""
    session = sessions.session(folder, log=sessions.Log(clock), scenario=runs.scenario())
    session._context = SimpleNamespace(topology=SimpleNamespace(components=()))  # type: ignore[assignment]
    session.load = load  # type: ignore[assignment]
    return Timeline(session, Injector(session))


def from_now() -> Callable[[], float]:
    """The clock of a run that begins now."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    return lambda: loop.time() - began


def test_the_next_fault_waits_for_heals_that_take_long(tmp_path: Path) -> None:
    """An engine may start for longer than a recovery phase: what is not proven healed yet is waited for."""

    async def drill() -> None:
        one, engine_is_ready = played(tmp_path), asyncio.Event()

        async def proof() -> None:
            await engine_is_ready.wait()

        one.injector.heal_proofs = [asyncio.create_task(proof())]
        waiting = asyncio.create_task(one._heals_proven(RECOVERY))
        await asyncio.wait([waiting], timeout=0.05)
        assert not waiting.done()
        engine_is_ready.set()
        await waiting

    asyncio.run(drill())


def test_waiting_for_a_heal_ends_with_the_load(tmp_path: Path) -> None:
    """Without load nothing can be judged any more; and what a proof died of is not lost."""

    async def drill() -> None:
        one = played(tmp_path, SimpleNamespace(ended=1, death="the load generator died (status 1)", windows=[]))
        one.injector.heal_proofs = [asyncio.create_task(asyncio.Event().wait())]  # type: ignore[list-item]
        with pytest.raises(StackError, match="load generator died"):
            await one._heals_proven(RECOVERY)
        one.injector.heal_proofs[0].cancel()

        async def crash() -> None:
            raise FaultError("no container of replica-1")

        one = played(tmp_path)
        one.injector.heal_proofs = [asyncio.create_task(crash())]
        with pytest.raises(FaultError, match="no container"):
            await one._heals_proven(RECOVERY)

    asyncio.run(drill())


class _Starting:
    """A fault whose component comes back once somebody has it started."""

    id = "kill/kill/replica-1"

    def __init__(self) -> None:
        self.started, self.given_up = asyncio.Event(), False

    async def come_back(self, context: object) -> None:
        """When it was started."""
        try:
            await self.started.wait()
        except asyncio.CancelledError:
            self.given_up = True
            raise


class _Lasting:
    """A fault that is as it is until the heal."""

    id = "kill/pause/dns"


@pytest.mark.parametrize(("comes", "at_most"), [(True, "60s"), (False, "1s")])
def test_a_phase_is_held_until_its_faults_have_settled(comes: bool, at_most: str, tmp_path: Path) -> None:
    """It lasts longer than its duration, but never longer than at_most; the record says what was given up."""
    phase = Phase.model_validate(
        {"name": "restart", "kind": "fault", "duration": "50ms", "until": "settled", "at_most": at_most}
    )

    async def drill() -> tuple[float, list[object]]:
        one, fault = played(tmp_path, clock=from_now()), _Starting()
        if comes:
            asyncio.get_running_loop().call_later(0.2, fault.started.set)
        await one._last(phase, [fault, _Lasting()], 0.0)  # type: ignore[list-item]
        assert fault.given_up is not comes
        return one.session.now_s(), [(e["kind"], e["unsettled"]) for e in sessions.log(one.session).events]

    lasted_s, heard = asyncio.run(drill())
    assert heard == [("phase_settled", [] if comes else [_Starting.id])]
    assert 0.2 <= lasted_s < 50 if comes else lasted_s >= 1.0


def test_nothing_is_carried_out_in_a_phase_that_does_not_wait_for_it(tmp_path: Path) -> None:
    """Its faults are healed as they are when its duration is over."""
    phase = Phase.model_validate({"name": "kill", "kind": "fault", "duration": "50ms"})

    async def drill() -> tuple[bool, list[str]]:
        one, fault = played(tmp_path, clock=from_now()), _Starting()
        await one._last(phase, [fault], 0.0)  # type: ignore[list-item]
        return fault.given_up, sessions.log(one.session).kinds

    assert asyncio.run(drill()) == (False, [])


@pytest.mark.parametrize("clears", [True, False])
def test_a_recovery_is_held_until_the_alerts_have_cleared(clears: bool, tmp_path: Path) -> None:
    """It ends soon after the last alert, at at_most when one goes on; where there are none, after its duration."""
    phase = Phase.model_validate(
        {"name": "recovery", "kind": "recovery", "duration": "50ms", "until": "alerts_cleared", "at_most": "1s"}
    )

    async def drill(alerts: object) -> list[object]:
        one = played(tmp_path, clock=from_now())
        one.session.alerts = alerts  # type: ignore[assignment]
        await one._last(phase, [], 0.0)
        return [(e["kind"], e["unsettled"]) for e in sessions.log(one.session).events]

    async def cleared() -> None:
        last_one = asyncio.Event()
        if clears:
            asyncio.get_running_loop().call_later(0.2, last_one.set)
        await last_one.wait()

    assert asyncio.run(drill(None)) == []
    heard = asyncio.run(drill(SimpleNamespace(cleared=cleared)))
    assert heard == [("phase_settled", [] if clears else ["alerts"])]


def _before_a_fault(folder: Path, late: bool, monkeypatch: pytest.MonkeyPatch) -> Timeline:
    """A timeline at the end of a phase, with a load whose answers are in time or late."""
    within, slow = (0, {"ttft": 50}) if late else (50, {})
    window = Window(1.0, 50, 36, 50, 50, 0, 1500.0, 1.0, {"ok": 50}, within, slow, {"150": 50})
    load = SimpleNamespace(ended=None, silent=False, windows=[window])
    monkeypatch.setattr(timeline.asyncio, "sleep", lambda seconds, sleep=asyncio.sleep: sleep(0))
    return played(folder, load, sessions.ticking())


def test_without_steady_state_nothing_is_injected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users wait too long before the first fault: the gate gives up in bounded time and ends the run."""
    one = _before_a_fault(tmp_path, late=True, monkeypatch=monkeypatch)
    with pytest.raises(
        FaultError, match=r"not in steady state after baseline: TTFT p95 1\.5 s, limit 0\.8 s; 36 in flight"
    ):
        asyncio.run(one._steady_after(BASELINE, BROKEN))
    heard = sessions.log(one.session).events
    assert [(e["kind"], e["phase"], e["reached"]) for e in heard] == [("steady_state", "baseline", False)]


def test_the_end_of_a_run_needs_no_steady_state_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would follow: it is recorded, and judged."""
    one = _before_a_fault(tmp_path, late=True, monkeypatch=monkeypatch)
    asyncio.run(one._steady_after(RECOVERY, None))
    assert [event["reached"] for event in sessions.log(one.session).events] == [False]


def test_steady_state_lets_the_fault_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, with what was seen."""
    one = _before_a_fault(tmp_path, late=False, monkeypatch=monkeypatch)
    asyncio.run(one._steady_after(BASELINE, BROKEN))
    (heard,) = sessions.log(one.session).events
    assert heard["reached"]
    assert heard["since_s"] == 1.0


def test_the_load_is_shown_while_the_steady_state_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs: «no load» would be wrong."""
    one = _before_a_fault(tmp_path, late=True, monkeypatch=monkeypatch)
    first = one.session.load.windows[0]  # type: ignore[union-attr]
    one.session.load.windows = [replace(first, t_s=float(t_s)) for t_s in range(100)]  # type: ignore[union-attr, assignment]
    asyncio.run(one._steady_after(RECOVERY, None))
    shown = sessions.screen(one.session).ticks
    assert all(shown)
    assert shown


def test_what_the_warm_up_saw_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its windows are older than its end."""
    one = _before_a_fault(tmp_path, late=False, monkeypatch=monkeypatch)
    warm_up = Phase.model_validate({"name": "warm-up", "kind": "warmup", "duration": "1s"})
    one.session.now_s()  # the warm-up ends a second after the window
    asyncio.run(one._steady_after(warm_up, BASELINE))
    assert "only 0 requests" in one._steady_now().why


def test_a_game_is_played_after_the_phases_before_the_first_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its steady state; the phase of the fault is not begun."""
    done: list[str] = []

    async def phase(one: Phase) -> None:
        done.append(one.name)

    async def steady(one: Phase, following: Phase | None) -> None:
        done.append(f"steady after {one.name}")

    one = played(tmp_path)
    monkeypatch.setattr(one, "_phase", phase)
    monkeypatch.setattr(one, "_steady_after", steady)
    following = asyncio.run(one.up_to_the_fault())
    phases = list(one.session.run.scenario.phases)
    first = next(number for number, found in enumerate(phases) if found.kind == "fault")
    assert following == phases[first]
    assert done == [word for found in phases[:first] for word in (found.name, f"steady after {found.name}")]
    assert done


class _Stays:
    """Stands for an injector of a fault of which something stays."""

    def __init__(self, done: list[str]) -> None:
        self.staying, self.done = [object()], done

    async def heals_proven(self) -> None:
        """They are."""

    async def take_back_what_stays(self) -> None:
        """It is rolled back."""
        self.done.append("what stays")


def test_what_users_would_feel_is_taken_back_when_they_have_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last phase: without load, and when nothing is measured any more."""
    done: list[str] = []

    def step(name: str) -> Callable[[], object]:
        async def stepped() -> None:
            done.append(name)

        return stepped

    one = played(tmp_path)
    one.injector = _Stays(done)  # type: ignore[assignment]
    for owner, name in ((one.session, "stop_load"), (one.session.sampling, "end"), (one.session.sampling, "close")):
        monkeypatch.setattr(owner, name, step(name))
    monkeypatch.setattr(one, "_phase", lambda phase: step(phase.name)())
    monkeypatch.setattr(one, "_steady_after", lambda phase, following: step("steady")())
    asyncio.run(one.play())
    assert done[-5:] == ["steady", "stop_load", "end", "close", "what stays"]
