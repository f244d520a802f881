"""A game that is being played, for its pages: what players and whoever runs the game see and may do.

Each act is an event of the run. Nothing of an inject is in what players see (harness/run/board.py).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.adapters.gateway import connect
from harness.model.errors import AdapterError, StackError, UsageError, did_you_mean
from harness.model.game import SAYS, TARGET, Game, clock, described, length
from harness.model.topology import Component
from harness.run import game_ops, load_only
from harness.run.board import (
    AlertNow,
    ComponentNow,
    ConsoleView,
    DiagnosisChoices,
    Hint,
    InjectNow,
    Message,
    OpsDone,
    PlayersView,
    UsedBy,
)
from harness.run.game_clock import GameClock
from harness.run.game_injects import Course, Injects
from harness.run.game_ops import Ops
from harness.run.game_slos import Tell
from harness.run.session import Session

#: What people type is cut off there, and so many messages and commands are taken in one game.
WHO_MAX, TEXT_MAX, MESSAGES_MAX = 60, 4000, 5000
#: An inject is delayed by an hour at a time at most.
DELAY_MAX_S = 3600.0
#: Components and gateways are asked so often.
LOOK_EVERY_S = 2.0
#: What players say to each other and to users; a diagnosis is chosen, not typed.
SPOKEN = tuple(one for one in SAYS if one != "diagnosed")
#: Whose word a decoy is.
OUTSIDE = "outside"
#: Of an alert, what is said otherwise, or is about the stack's own making.
_APART = ("alertname", "severity", "scale", "instance_number")


@dataclass
class Channel:
    """What was said, done, bought and noted so far."""

    clock: GameClock
    messages: list[Message] = field(default_factory=list)
    ops: list[OpsDone] = field(default_factory=list)
    hints: list[Hint] = field(default_factory=list)
    notes: list[Message] = field(default_factory=list)

    def say(self, who: str, kind: str, text: str) -> None:
        """Into the players' channel."""
        self.messages.append(Message(self.clock.clock_s(), who, kind, text))

    def decoy(self, text: str) -> None:
        """What somebody outside of the team writes to it."""
        self.say(OUTSIDE, "message", text)


class LiveBoard:
    """The board of one game (harness/run/board.py). ``ended`` is set once the game is over, or has to be."""

    def __init__(
        self, session: Session, game: Game, clock: GameClock, injects: Injects, ops: Ops, channel: Channel, event: Tell
    ) -> None:
        self._session, self._game, self._clock = session, game, clock
        self._injects, self._ops, self._channel, self._event = injects, ops, channel, event
        self._components: tuple[ComponentNow, ...] = ()
        self._sold: dict[str, int] = {}  # inject → hints
        self.ended = asyncio.Event()

    async def look_at_components(self) -> None:
        """Ask them again and again: pages show what was last seen."""
        while True:
            self._components = await asyncio.to_thread(self._seen)
            await asyncio.sleep(LOOK_EVERY_S)

    def _seen(self) -> tuple[ComponentNow, ...]:
        context = self._session.context
        try:
            states = {one.name: one.state for one in context.runtime.states()}
        except (AdapterError, StackError):
            states = {}
        used = {gateway: self._used(gateway) for gateway in context.topology.gateways}
        return tuple(self._component(one, states, used) for one in context.topology.components)

    def _used(self, name: str) -> Mapping[str, UsedBy]:
        """How a gateway uses each replica. What it does not tell at this moment is left out."""
        try:
            gateway = connect(self._session.context.runtime, name)
            healthy = gateway.healthy()
            return {
                replica: UsedBy(one.state, one.weight, healthy.get(replica))
                for replica, one in gateway.servers().items()
            }
        except (AdapterError, StackError):
            return {}

    @staticmethod
    def _component(one: Component, states: Mapping[str, str], used: Mapping[str, Mapping[str, UsedBy]]) -> ComponentNow:
        by = {gateway: found[one.name] for gateway, found in used.items() if one.name in found}
        return ComponentNow(one.name, one.role, states.get(one.name, "unknown"), by)

    # ── what is seen ──

    def players(self) -> PlayersView:
        """For the players' page."""
        session, game, channel = self._session, self._game, self._channel
        windows = session.windows_since(session.now_s() - load_only.FIGURES_S)
        return PlayersView(
            title=game.title,
            briefing=" ".join(game.briefing.split()),
            clock_s=self._clock.clock_s(),
            lasts_s=game.lasts,
            slos=self._injects.slos.now(),
            alerts=self._alerts(),
            components=self._components,
            channel=tuple(channel.messages),
            ops=tuple(channel.ops),
            diagnosis=self._choices(),
            hints_taken=tuple(channel.hints),
            load=load_only.figures(windows),
        )

    def console(self) -> ConsoleView:
        """For whoever runs the game."""
        injects = tuple(self._inject(course) for course in self._injects.courses)
        return ConsoleView(**vars(self.players()), injects=injects, next=self._next(), notes=tuple(self._channel.notes))

    def _alerts(self) -> tuple[AlertNow, ...]:
        firing = [] if self._session.alerts is None else self._session.alerts.firing
        return tuple(
            AlertNow(
                str(labels["alertname"]),
                str(labels["severity"]),
                {name: str(value) for name, value in labels.items() if name not in _APART},
                self._on_clock(since_s) or 0.0,
            )
            for labels, since_s in firing
        )

    def _choices(self) -> DiagnosisChoices:
        topology = self._session.run.runtime.topology
        names = [*(one.name for one in topology.components), *(one.name for one in topology.links)]
        return DiagnosisChoices(tuple(names), self._game.mechanisms)

    def _inject(self, course: Course) -> InjectNow:
        due = course.due_game_s
        faults = ", ".join(map(described, course.drawn.faults))
        return InjectNow(
            id=course.inject.id,
            title=course.inject.title,
            state=course.state,
            due_s=None if due is None else self._clock.on_wall_s(due),
            target=" or ".join(course.drawn.components),
            variant=f"{course.drawn.mechanism}: {faults}",
            proven=course.proven,
            users_hit=self._on_clock(course.mitigating.hit_s),
            mitigated_s=self._on_clock(course.mitigating.mitigated_s),
            stays_well=course.stays_well,
        )

    def _on_clock(self, t_s: float | None) -> float | None:
        """A moment of the run by the game's clock on the wall."""
        return None if t_s is None else t_s - self._began_s()

    def _began_s(self) -> float:
        return self._session.now_s() if self._clock.start_s is None else self._clock.start_s

    def _next(self) -> str:
        """What comes next, in words."""
        if self.ended.is_set():
            return "the game is over"
        if (course := self._injects.current()) is not None:
            return f"{course.inject.id} goes on: {course.state}"
        if (course := self._injects.next_one()) is None:
            return f"no inject is left; the game lasts until {clock(self._game.lasts)}"
        if course.state == "due":
            return f"{course.inject.id} waits for you to confirm it"
        if course.due_game_s is None:
            return f"{course.inject.id} waits for {course.inject.when.on or course.inject.when.after}"
        left_s = max(0.0, self._clock.on_wall_s(course.due_game_s) - self._clock.clock_s())
        return f"{course.inject.id} in {length(round(left_s))}"

    # ── what players do ──

    async def say(self, who: str, kind: str, text: str) -> None:
        """Found, acknowledged, a status message, fixed. UsageError for anything else."""
        who = self._admitted(who)
        if kind not in SPOKEN:
            hint = did_you_mean(kind, SPOKEN) or f"expected one of {', '.join(SPOKEN)}"
            raise UsageError(f"nobody can say {kind[:TEXT_MAX]!r}; {hint}")
        if len(text) > TEXT_MAX:
            raise UsageError(f"found {len(text)} characters, expected {TEXT_MAX} at most")
        if kind == "status" and not text.strip():
            raise UsageError("a status message is empty: expected what users should know")
        self._channel.say(who, kind, text)
        self._event("said", what=kind, who=who, text=text)
        self._injects.heard(f"say.{kind}")

    async def ops(self, who: str, command: str, component: str, value: str) -> str:
        """Do it; refused and failed ones are recorded, too."""
        who, began_s = self._admitted(who), self._session.now_s()
        typed = game_ops.words(command, component, value)[:TEXT_MAX]
        try:
            outcome = await self._ops.do(command, component, value)
        except UsageError as error:
            self._event("ops_refused", **game_ops.as_event(who, command, component, value, why=str(error)))
            self._channel.ops.append(OpsDone(self._clock.clock_s(), who, typed, f"refused: {error}"))
            raise
        told = game_ops.as_event(who, command, component, value, began_s=began_s, outcome=outcome.text)
        self._event("ops" if outcome.done else "ops_failed", **told)
        self._channel.ops.append(OpsDone(self._clock.clock_s(), who, typed, outcome.text))
        if outcome.done:
            self._injects.heard(f"ops.{command}")
        return outcome.text

    async def diagnose(self, who: str, component: str, mechanism: str, since_s: float) -> None:
        """One answer. UsageError for what is not among the choices."""
        who, choices = self._admitted(who), self._choices()
        for found, known, what in (
            (component, choices.components, "component"),
            (mechanism, choices.mechanisms, "mechanism"),
        ):
            if found not in known:
                raise UsageError(f"there is no {what} {found[:TEXT_MAX]!r}: expected one of {', '.join(known)}")
        if not math.isfinite(since_s) or not 0 <= since_s <= self._clock.clock_s():
            raise UsageError(f"since: found {since_s:g} s, expected a moment between the start of the game and now")
        self._channel.say(who, "diagnosed", f"{component}: {mechanism}, since {clock(since_s)}")
        moment_s = round(self._began_s() + since_s, 3)
        self._event("said", what="diagnosed", who=who, component=component, mechanism=mechanism, since_s=moment_s)
        self._injects.heard("say.diagnosed")

    async def hint(self, who: str) -> str:
        """The next one of the inject that goes on. UsageError when there is none to be had."""
        who, course = self._admitted(who), self._injects.current()
        number = 0 if course is None else self._sold.get(course.inject.id, 0)
        if course is None or number >= len(course.inject.hints):
            raise UsageError("there is no hint to be had now")
        sold = course.inject.hints[number]
        text = sold.text.format(**{TARGET: course.drawn.target})
        self._sold[course.inject.id] = number + 1
        self._channel.hints.append(Hint(text, sold.price))
        self._event("hint", inject=course.inject.id, hint=number, who=who)
        return text

    def _admitted(self, who: str) -> str:
        """The name, as it is kept. UsageError when nothing is taken any more, or not yet."""
        if self._clock.start_s is None:
            raise UsageError("the game has not begun: wait until its clock runs")
        if self.ended.is_set():
            raise UsageError("the game is over")
        if len(self._channel.messages) + len(self._channel.ops) >= MESSAGES_MAX:
            raise UsageError(f"{MESSAGES_MAX} messages and commands are enough for one game")
        if not (name := " ".join(who.split())[:WHO_MAX]):
            raise UsageError("who is empty: expected your name")
        return name

    # ── what whoever runs the game does ──

    async def confirm(self, id: str) -> None:
        """It begins when it is due, where injects wait for that."""
        self._pending(id).confirmed = True
        self._event("inject_confirmed", inject=id)

    async def skip(self, id: str) -> None:
        """It is left out."""
        self._pending(id).skipped = True

    async def delay(self, id: str, seconds: float) -> None:
        """It comes so much later than it would have, by the game's own timeline."""
        course = self._pending(id)
        if not math.isfinite(seconds) or not 0 < seconds <= DELAY_MAX_S:
            raise UsageError(f"delay: found {seconds:g} s, expected more than 0 and {DELAY_MAX_S:g} s at most")
        course.delayed_s += seconds
        self._event("inject_delayed", inject=id, seconds=seconds)

    async def fire(self, id: str) -> None:
        """It begins now. UsageError while another one goes on or comes first: two at once cannot be scored apart."""
        course = self._pending(id)
        if (current := self._injects.current()) is not None:
            raise UsageError(f"{current.inject.id} goes on: abort it first, or wait until it is over")
        if course is not (first := self._injects.next_one()):
            raise UsageError(f"{first.inject.id if first else 'another'} comes first: fire or skip it")
        course.fired = True
        self._event("inject_confirmed", inject=id, fired=True)

    async def abort(self, id: str) -> None:
        """It is healed."""
        course = self._injects.find(id)
        if not course.goes_on:
            raise UsageError(f"{id} does not go on: it is {course.state}")
        course.aborted = True

    async def stop_all(self) -> None:
        """The game ends, and what is injected is rolled back on the way out."""
        if not self.ended.is_set():
            self._event("game_stopped")
            self._session.run.progress.say("the game is stopped: everything is rolled back")
            self.ended.set()

    async def note(self, text: str) -> None:
        """For the report."""
        if not text.strip() or len(text) > TEXT_MAX:
            raise UsageError(f"found {len(text)} characters, expected some, and {TEXT_MAX} at most")
        self._channel.notes.append(Message(self._clock.clock_s(), "", "note", text))
        self._event("facilitator_note", text=text)

    def _pending(self, id: str) -> Course:
        course = self._injects.find(id)
        if self.ended.is_set() or not course.pending or course.skipped:
            raise UsageError(f"{id} cannot be changed any more: it is {course.state}")
        return course
