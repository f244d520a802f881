"""Plays the phases of a scenario on a session: each fault at its time, the steady state before it and at the end.

A game day or a sweep is another timeline on the same session.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Coroutine, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from harness.evidence import interference
from harness.faults.base import Listed, of_phase
from harness.judge import request_limits
from harness.judge.presence import AGAIN_BEFORE_S
from harness.model.errors import FaultError
from harness.model.scenario import Phase
from harness.probes import release
from harness.run import steady
from harness.run.injector import Injector
from harness.run.run import Run
from harness.run.session import Session, opened
from harness.run.tasks import end
from stack import keys as stack_keys


async def conduct(run: Run) -> None:
    """Conduct ``run``, in these steps:

    1. signals are caught: from here on every exit passes through step 7
    2. leftovers of earlier runs are repaired
    3. the stack is brought up, or found warm; what the simulator is to do wrong is switched on
    4. probes and load start
    5. each phase: measure → inject → prove the effect → carry out, hold → heal → prove the heal, with the steady state
       asked for before every fault and at the end; a rollback that users would feel waits until they have gone
    6. DrillyardErrors end the run early, as an event ``aborted``; so does a stop condition that is met
    7. whatever happened: what is injected is rolled back, load and probes stop, logs are collected
    """
    async with opened(run) as session:  # 1, 6, 7
        await session.until_ended(_drill(session))


async def _drill(session: Session) -> None:
    await session.begin()  # 2, 3, 4
    await Timeline(session, Injector(session)).play()  # 5


async def end_what_stays(session: Session, injector: Injector) -> None:
    """Roll back what users would feel: nobody is there to feel it go, and nothing is measured."""
    if injector.staying:
        await session.stop_load()
        await session.sampling.end()
        await session.sampling.close()
        await injector.take_back_what_stays()


class Timeline:
    """The phases of the session's scenario."""

    def __init__(self, session: Session, injector: Injector) -> None:
        self.session, self.injector = session, injector
        self._warm_s = 0.0  # when the warm-up was over: what was before is no steady state

    async def play(self) -> None:
        """All phases. FaultError when there is no steady state before a fault."""
        phases = self.session.run.scenario.phases
        for phase, following in zip(phases, [*phases[1:], None], strict=True):
            if phase.kind == "quiet":
                await self._quiet(phase)
                continue
            await self._phase(phase)
            await self._steady_after(phase, following)
        await self.injector.heals_proven()
        await end_what_stays(self.session, self.injector)

    async def up_to_the_fault(self) -> Phase:
        """The phases before the first of kind fault, and the steady state; that one is played by somebody else.

        FaultError when there is no steady state.
        """
        for phase, following in pairwise(self.session.run.scenario.phases):
            await self._phase(phase)
            await self._steady_after(phase, following)
            if following.kind == "fault":
                return following
        raise ValueError("a scenario without a fault has no phase before it")

    async def _phase(self, phase: Phase) -> None:
        session, injector = self.session, self.injector
        faults = of_phase(phase, session.context.topology)
        await asyncio.gather(*(fault.measure(session.context) for fault in faults))
        on = f" and until {phase.until}, {phase.longest:.0f} s at most".replace("_", " ") if phase.until else ""
        self._begin(phase, on)
        started = session.now_s()
        session.run.watchdog.expect(session.run.zero_mono_s + started + phase.longest)
        await injector.inject(faults, phase.name)
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(injector.prove(fault, phase.name, started + phase.duration - AGAIN_BEFORE_S))
            group.create_task(self._last(phase, faults, started))
        await injector.heal(faults, phase.name)
        session.run.log.add("phase_ended", phase=phase.name)
        injector.prove_healed(faults, phase.name)

    async def _quiet(self, phase: Phase) -> None:
        """The only part without load. When its last stream has ended, each replica is asked to let go of its cache."""
        session = self.session
        await session.stop_load()
        self._begin(phase)
        until_s = session.now_s() + phase.duration
        replicas = [one for one in session.context.topology.components if one.role == "replica"]
        token = stack_keys.engine_token(session.context.path.operator_key)
        ask = partial(release.reset_prefix_cache, within_s=phase.duration, token=token)
        for reset in await asyncio.gather(*map(ask, replicas)):
            session.run.log.add("prefix_cache_reset", **dataclasses.asdict(reset))
            session.run.progress.say(f"{reset.component}: {reset.why}")
        while (left := until_s - session.now_s()) > 0:
            session.run.progress.tick(phase.name, left, [])
            await asyncio.sleep(min(0.5, left))
        session.run.log.add("phase_ended", phase=phase.name)

    def _begin(self, phase: Phase, on: str = "") -> None:
        run = self.session.run
        run.log.add("phase_started", phase=phase.name, phase_kind=phase.kind)
        run.progress.say(f"phase {phase.name} ({phase.kind}, {phase.duration:.0f} s{on})")

    # ── how long a phase lasts ──

    async def _last(self, phase: Phase, faults: Sequence[Listed], started_s: float) -> None:
        """Let the phase last: its duration, and until what it asks for has come, bounded."""
        awaited = self._awaited(phase, faults)
        settling = [asyncio.create_task(wait) for wait in awaited.values()]
        try:
            await self._hold(phase.name, started_s + phase.duration)
            if settling:
                await self._hold(f"{phase.name}, until it has settled", started_s + phase.longest, settling)
                unsettled = [name for name, task in zip(awaited, settling, strict=True) if not task.done()]
                after_s = round(self.session.now_s() - started_s, 3)
                self.session.run.log.add("phase_settled", phase=phase.name, after_s=after_s, unsettled=unsettled)
        finally:
            await end(settling)
        for task in settling:
            if not task.cancelled():
                task.result()  # what went wrong while waiting is not lost

    def _awaited(self, phase: Phase, faults: Sequence[Listed]) -> dict[str, Coroutine[Any, Any, None]]:
        """What is carried out in the phase, or only waited for, beyond its duration if need be; by name."""
        if phase.until == "alerts_cleared" and self.session.alerts is not None:
            return {"alerts": self.session.alerts.cleared()}
        return {fault.id: self.injector.carry_out(fault) for fault in faults} if phase.until == "settled" else {}

    async def _hold(self, name: str, until_s: float, pending: Sequence[asyncio.Task[None]] | None = None) -> None:
        """Until that time; with ``pending`` no longer than these tasks last."""
        while (left := until_s - self.session.now_s()) > 0:
            if pending is not None and all(task.done() for task in pending):
                return
            self.session.tick(name, left)
            await asyncio.sleep(min(0.5, left))

    # ── the steady state ──

    async def _steady_after(self, phase: Phase, following: Phase | None) -> None:
        """Ask for the steady state when ``phase`` is followed by a fault or is the last; FaultError without it."""
        session = self.session
        if phase.kind == "warmup":
            self._warm_s = session.now_s()
            return
        if not (following is None or following.kind in ("fault", "quiet")):
            return
        await self._heals_proven(phase)
        pages = session.alerts is not None
        give_up = session.now_s() + steady.patience_s(session.run.scenario.load.per_s, pages)
        while True:
            found = self._steady_now()
            if found.reached or session.now_s() > give_up:
                break
            session.tick(f"{phase.name}: not in steady state: {found.why}", give_up - session.now_s())
            await asyncio.sleep(0.5)
        session.run.log.add("steady_state", phase=phase.name, **dataclasses.asdict(found))
        if not found.reached and following is not None and following.kind == "fault":
            raise FaultError(f"not in steady state after {phase.name}: {found.why}; no fault was injected after that")

    def _steady_now(self) -> steady.SteadyState:
        session = self.session
        components = session.context.topology.components
        names = {role: [c.name for c in components if c.role == role] for role in ("gateway", "replica")}
        pages = () if session.alerts is None else session.alerts.pages
        stack = steady.Stack(names["gateway"], names["replica"], session.sampling.latest, pages)
        windows = steady.stretch(session.windows_since(self._warm_s), session.now_s(), self._warm_s)
        machine_now = interference.machine_now(session.sampling.latest)
        return steady.judge(windows, request_limits.of(session.run.scenario), stack, machine_now)

    async def _heals_proven(self, phase: Phase) -> None:
        """Wait until every heal so far is proven, or found not to be: an engine may start for longer than a phase."""
        while pending := [proof for proof in self.injector.heal_proofs if not proof.done()]:
            self.session.tick(f"{phase.name}: {len(pending)} heals are not proven yet", 0.0)
            await asyncio.wait(pending, timeout=0.5)
        await self.injector.heals_proven()
