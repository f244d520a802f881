"""The injects of a game, one after the other: waited for, confirmed, injected, proven, watched, replayed, healed.

What each does to the stack goes through the injector of the session, so that it is in the journal first, as in a drill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from harness.faults.base import Listed, Operation, RollsBack, TellsEffect, Workload, fault_class
from harness.model import options
from harness.model.errors import AdapterError, FaultError, OperationAborted, StackError, UsageError
from harness.model.game import Game, Inject
from harness.model.sealed import Drawn, Sealed
from harness.plan.stop_conditions import LOOK_BACK_S, Watch
from harness.run import ends
from harness.run.game_clock import LOOK_EVERY_S, GameClock
from harness.run.game_slos import Slos, Tell
from harness.run.injector import Injector
from harness.run.session import Session
from harness.run.tasks import end

#: The phase of a game in its records; events of its faults carry it.
PHASE = "game"
#: Before an inject the objectives may be missed for so long; then it begins all the same, and has no score.
KEPT_WITHIN_S = 120.0
LEFT_OUT = "whoever runs the game has left it out"
#: Between a heal and the replay the proof of the heal is waited for so long.
HEALED_WITHIN_S = 20.0


@dataclass
class Mitigating:
    """Whether players have mitigated, as the judge will see it (harness/judge/games/mitigation.py), while it goes on.

    Mitigated: an objective was missed, players did something to the stack, and all are kept again.
    """

    hit_s: float | None = None  # when the first objective was missed
    mitigated_s: float | None = None
    missed_again: bool = False  # after it had been mitigated
    _missed: bool = False
    _acted: bool = False

    def objectives(self, now_s: float, kept: bool) -> None:
        """All are kept from now on, or not all any more."""
        if not kept:
            self.hit_s = now_s if self.hit_s is None else self.hit_s
            self.missed_again = self.missed_again or self.mitigated_s is not None
            self._missed, self._acted, self.mitigated_s = True, False, None
        elif self._missed:
            self._missed = False
            if self._acted:
                self.mitigated_s, self.missed_again = now_s, False

    def act(self) -> None:
        """Players have done something to the stack."""
        self._acted = self._missed


@dataclass
class Course:
    """One inject, as it goes. Times are seconds since the run's zero, unless they say that they are of the game."""

    inject: Inject
    drawn: Drawn
    state: str = "waiting"
    due_game_s: float | None = None
    act_game_s: float | None = None  # when players did what it waits for
    delayed_s: float = 0.0
    confirmed: bool = False
    fired: bool = False
    skipped: bool = False
    aborted: bool = False
    begun_s: float | None = None
    over_game_s: float | None = None
    proven: bool | None = None
    stays_well: bool | None = None
    mitigating: Mitigating = field(default_factory=Mitigating)
    triggers: list[Listed] = field(default_factory=list)  # its faults, as they were first injected
    faults: list[Listed] = field(default_factory=list)  # those that are injected now
    side: list[asyncio.Task[Any]] = field(default_factory=list)  # what proves and carries them out
    carrying: dict[str, asyncio.Task[None]] = field(default_factory=dict)  # by the fault's id; of ``side``
    replay: asyncio.Task[None] | None = None
    replayed_for_s: float | None = None  # the mitigation after which it was begun
    replayed_s: tuple[float, float] | None = None  # from when to when the trigger was there again

    @property
    def goes_on(self) -> bool:
        """It has begun and is not over."""
        return self.state in ("running", "mitigated", "replaying")

    @property
    def pending(self) -> bool:
        """It has not begun, and may."""
        return self.state in ("waiting", "due")


class Injects:
    """All of a game. ``say`` is told what a decoy says; ``confirm_first``: each waits for somebody to confirm it."""

    def __init__(
        self, session: Session, injector: Injector, game: Game, sealed: Sealed, clock: GameClock,
        event: Tell, say: Callable[[str], None], confirm_first: bool = False,
    ) -> None:  # fmt: skip
        self.session, self.injector, self.game, self.clock = session, injector, game, clock
        self.slos = Slos(game.slos, event, self._objectives)
        self.courses = [Course(one, drawn) for one, drawn in zip(game.injects, sealed.injects, strict=True)]
        self._event, self._say, self._confirm_first = event, say, confirm_first
        session.before_heal.insert(0, self._end)

    async def play(self) -> None:
        """All of them, in their order, as long as the game lasts."""
        for course in self.courses:
            if await self._due(course):
                await self._one(course)
        await self.injector.heals_proven()

    # ── what others tell ──

    def _objectives(self, kept: bool) -> None:
        now_s = self.session.now_s()
        for course in self.courses:
            if not course.goes_on:
                continue
            hit_before = course.mitigating.hit_s is not None
            course.mitigating.objectives(now_s, kept)
            if not kept and not hit_before:
                self._event("users_hit", inject=course.inject.id)
            if kept and course.mitigating.mitigated_s is not None:
                self._event("mitigated", inject=course.inject.id)

    def heard(self, act: str) -> None:
        """Players did or said something: one of ``ACTS``."""
        for course in self.courses:
            if course.goes_on and act.startswith("ops."):
                course.mitigating.act()
        waiting = self.next_one() if self.current() is None else None
        if waiting is not None and waiting.inject.when.on == act and waiting.act_game_s is None:
            waiting.act_game_s = self.clock.game_s()

    def current(self) -> Course | None:
        """The inject that goes on."""
        return next((course for course in self.courses if course.goes_on), None)

    def find(self, id: str) -> Course:
        """The inject of that id. UsageError for none."""
        known = {course.inject.id: course for course in self.courses}
        if id not in known:
            raise UsageError(f"there is no inject {id!r}: expected one of {', '.join(known)}")
        return known[id]

    def next_one(self) -> Course | None:
        """The first that has not begun."""
        return next((course for course in self.courses if course.pending), None)

    # ── when it begins ──

    async def _due(self, course: Course) -> bool:
        """Wait until it has to begin; False when it is left out. All heals so far are proven then."""
        while not course.fired:
            over = self.clock.game_s() >= self.game.lasts
            if course.skipped or over:
                self._leave_out(course, "the game is over" if over else LEFT_OUT)
                return False
            course.due_game_s = self._due_game_s(course)
            come = course.due_game_s is not None and self.clock.game_s() >= course.due_game_s
            if come and (course.confirmed or not self._confirm_first):
                break
            if come and course.state == "waiting":
                self._event("inject_due", inject=course.inject.id)
            course.state = "due" if come else "waiting"
            await (asyncio.sleep(LOOK_EVERY_S) if come else self.clock.pass_on())
        await self.injector.heals_proven()
        await self._objectives_kept(course)
        if course.skipped:
            self._leave_out(course, LEFT_OUT)
        return not course.skipped

    def _due_game_s(self, course: Course) -> float | None:
        """By the game's own timeline; None while it waits for players or for another inject."""
        when, later_s = course.inject.when, course.drawn.later_s + course.delayed_s
        if when.at is not None:
            return when.at + later_s
        if when.after is not None:
            over_s = self.find(when.after).over_game_s
            return None if over_s is None else over_s + when.delay + later_s
        if course.act_game_s is None and when.at_most is not None and self.clock.game_s() >= when.at_most:
            course.act_game_s = when.at_most
        return None if course.act_game_s is None else course.act_game_s + when.delay + later_s

    async def _objectives_kept(self, course: Course) -> None:
        """What was missed before an inject says nothing about it. Bounded: then it begins, and the records say so."""
        give_up_s = self.session.now_s() + KEPT_WITHIN_S
        while self.slos.kept is not True and not (course.fired or course.skipped):
            if self.session.now_s() > give_up_s:
                self.session.run.note("the objectives are not kept before the inject, which begins all the same")
                return
            await asyncio.sleep(LOOK_EVERY_S)

    def _leave_out(self, course: Course, why: str) -> None:
        course.state, course.over_game_s, course.due_game_s = "skipped", self.clock.game_s(), None
        self._event("inject_skipped", inject=course.inject.id, why=why)

    # ── how it goes ──

    async def _one(self, course: Course) -> None:
        """From its begin to its heal. What cannot be injected is recorded, and the game goes on without it."""
        try:
            await self._begin(course)
            await self._watch(course)
        except Exception as error:
            known = ends.first_known(error)
            if not isinstance(known, FaultError | AdapterError) or self.session.run.watchdog.taken:
                raise
            self._event("inject_failed", inject=course.inject.id, why=str(known))
            await self._take_back(course, "failed")
            return
        await self._take_back(course, "over")

    async def _begin(self, course: Course) -> None:
        session, inject = self.session, course.inject
        faults = self._made(course.drawn, inject.id)
        await asyncio.gather(*(fault.measure(session.context) for fault in faults))
        course.begun_s, course.state, course.due_game_s = session.now_s(), "running", None
        self._event("inject_begun", inject=inject.id)
        longest_s = inject.lasts_at_most + self.game.stays_well_for
        session.run.watchdog.expect(session.run.zero_mono_s + course.begun_s + longest_s)
        course.triggers, course.faults = faults, list(faults)
        await self.injector.inject(faults, PHASE)
        self._start_side(course, partial(self._effect_proven, course))
        course.side.append(asyncio.create_task(self._decoy(course)))

    @staticmethod
    def _made(drawn: Drawn, name: str) -> list[Listed]:
        """The drawn faults, with ids of ``name``."""
        return [fault_class(spec.type)(name, spec.on, options.of_spec(spec)) for spec in drawn.faults]

    def _start_side(self, course: Course, proven: Callable[[bool], object]) -> None:
        """Prove each fault that is injected, and carry out what has to be; ``proven`` hears whether all were."""
        doing = [asyncio.create_task(self._prove_once(fault)) for fault in course.faults]
        course.side += [*doing, asyncio.create_task(self._prove(course.faults, doing, proven))]
        course.carrying = {fault.id: asyncio.create_task(self.injector.carry_out(fault)) for fault in course.faults}
        course.side += course.carrying.values()

    async def _prove(
        self, faults: Sequence[Listed], doing: Sequence[asyncio.Task[bool]], proven: Callable[[bool], object]
    ) -> None:
        found = await asyncio.gather(*(self._effect(*one) for one in zip(faults, doing, strict=True)))
        proven(all(found))

    async def _prove_once(self, fault: Listed) -> bool:
        """What cannot be asked because players do something to it at this moment is not proven."""
        try:
            return await self.injector.prove_once(fault, PHASE)
        except (AdapterError, StackError) as error:
            self.session.run.note(f"the effect could not be looked at: {error}")
            return False

    async def _effect(self, fault: Listed, doing: asyncio.Task[bool]) -> bool:
        """A workload is done for minutes, and is proven as soon as it has had its effect once."""
        while not doing.done() and isinstance(fault, TellsEffect):
            if fault.effect_so_far():
                return True
            await asyncio.wait([doing], timeout=LOOK_EVERY_S)
        return await doing

    def _effect_proven(self, course: Course, proven: bool) -> None:
        course.proven = proven
        self._event("inject_proven" if proven else "inject_unproven", inject=course.inject.id)

    async def _decoy(self, course: Course) -> None:
        await asyncio.sleep(course.drawn.decoy_after_s)
        self._event("decoy", inject=course.inject.id, decoy=course.drawn.decoy)
        self._say(course.inject.decoys[course.drawn.decoy].says)

    # ── until it is over ──

    async def _watch(self, course: Course) -> None:
        """Until it has stayed well, or has lasted for as long as it may, or is ended early."""
        watches = [Watch(condition) for condition in course.inject.stop_when]
        while True:
            _raise_what_failed(course)
            if why := self._ends_early(course, watches):
                self._event("inject_stopped", inject=course.inject.id, why=why)
                return
            if self._over(course):
                return
            await asyncio.sleep(LOOK_EVERY_S)

    def _ends_early(self, course: Course, watches: Sequence[Watch]) -> str:
        """Why; "" while nothing ends it."""
        if course.aborted:
            return "whoever runs the game has aborted it"
        now_s = self.session.now_s()
        windows = self.session.windows_since(now_s - LOOK_BACK_S)
        return next((why for watch in watches if (why := watch.look(now_s, windows)) is not None), "")

    def _over(self, course: Course) -> bool:
        """One look: whether nothing more is to be seen of it. Where it was mitigated, its replay is begun."""
        assert course.begun_s is not None
        now_s, seen = self.session.now_s(), course.mitigating
        replaying = course.replay is not None and not course.replay.done()
        if seen.missed_again:
            course.stays_well, seen.missed_again = False, False
        if seen.mitigated_s is None:
            course.state = "replaying" if replaying else "running"
            return now_s >= course.begun_s + course.inject.lasts_at_most
        if course.inject.replay is not None and not replaying and course.replayed_for_s != seen.mitigated_s:
            course.replayed_for_s, replaying = seen.mitigated_s, True
            course.replay = asyncio.create_task(self._replay(course, course.inject.replay))
        course.state = "replaying" if replaying else "mitigated"
        if replaying or now_s < seen.mitigated_s + self.game.stays_well_for:
            return False
        course.stays_well = self._stayed_well(course, seen.mitigated_s)
        return True

    def _stayed_well(self, course: Course, mitigated_s: float) -> bool | None:
        """Of a mitigation that was watched for long enough; None where the trigger did not come again meanwhile."""
        if course.inject.replay is None:
            return True
        again = course.replayed_s
        inside = again is not None and mitigated_s <= again[0] and again[1] <= mitigated_s + self.game.stays_well_for
        return True if inside else None

    async def _replay(self, course: Course, lasts_s: float) -> None:
        """The trigger, again: healed, and injected once more with what players have set as it is."""
        proven: list[bool] = []
        try:
            await self._heal(course)
            if waiting := [proof for proof in self.injector.heal_proofs if not proof.done()]:
                await asyncio.wait(waiting, timeout=HEALED_WITHIN_S)
            course.faults = await self._again(course)
            begun_s = self.session.now_s()
            self._event("replay_begun", inject=course.inject.id)
            await self.injector.inject(course.faults, PHASE)
            self._start_side(course, proven.append)
            await asyncio.sleep(lasts_s)
        except (FaultError, AdapterError, ExceptionGroup) as error:
            if not isinstance(known := ends.first_known(error), FaultError | AdapterError):
                raise
            self._event("replay_failed", inject=course.inject.id, why=str(known))
            return
        if proven == [True]:
            course.replayed_s = (begun_s, self.session.now_s())
            self._event("replay_over", inject=course.inject.id)
        else:
            self._event("replay_unproven", inject=course.inject.id)

    async def _again(self, course: Course) -> list[Listed]:
        """The same faults: those that are there or are not, as they were measured before players did anything; what is
        done and over, once more, as it finds the stack now.
        """
        number = "again" if course.replayed_s is None else f"again-{self.session.now_s():.0f}"
        fresh = {(one.type, one.on): one for one in self._made(course.drawn, f"{course.inject.id}-{number}")}
        again = [fresh[one.type, one.on] if isinstance(one, Operation | Workload) else one for one in course.triggers]
        done = [one for one in again if isinstance(one, Operation | Workload)]
        await asyncio.gather(*(one.measure(self.session.context) for one in done))
        return again

    async def _heal(self, course: Course) -> None:
        """What is injected of it, if anything; the proofs of that have begun."""
        await end(course.side)
        course.side.clear()
        faults, course.faults = course.faults, []
        if faults:
            await self.injector.heal(faults, PHASE)
            self.injector.prove_healed(faults, PHASE)

    async def _take_back(self, course: Course, state: str) -> None:
        """It is over, whatever became of it."""
        if course.replay is not None:
            await end([course.replay])
        await self._heal(course)
        if course.begun_s is not None:
            self._event("inject_over", inject=course.inject.id)
        course.state, course.due_game_s, course.over_game_s = state, None, self.clock.game_s()

    async def _end(self) -> None:
        """On the way out: nothing more is proven, carried out or injected, and what is still there is healed next."""
        for course in self.courses:
            await end([*course.side, *([course.replay] if course.replay is not None else [])])
            if course.goes_on:
                self._event("inject_over", inject=course.inject.id)
                course.state = "over"

    # ── what players order of it without knowing ──

    async def roll_back(self) -> str:
        """Order a rollout back that is under way; what came of it. UsageError where there is none."""
        course = self.current()
        for fault in course.faults if course is not None else ():
            if course is not None and isinstance(fault, RollsBack) and fault.id in course.carrying:
                await end([course.carrying.pop(fault.id)])
                work = asyncio.create_task(self._rolled_back(fault))
                course.side.append(work)
                await asyncio.wait([work])
                return "it ended meanwhile" if work.cancelled() else work.result()
        raise UsageError("no rollout is under way that could be rolled back: what replicas serve is on the status page")

    async def _rolled_back(self, rollout: RollsBack) -> str:
        try:
            await rollout.roll_back(self.session.context)
        except OperationAborted as error:
            return f"not rolled back: {error}"
        return "rolled back: every replica serves the version of before"


def _raise_what_failed(course: Course) -> None:
    """Raise what a task beside the inject has died of."""
    tasks = [*course.side, *([course.replay] if course.replay is not None else [])]
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error
