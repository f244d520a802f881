"""What a game that is being played shows and takes: the port between the game and whoever serves its pages.

Players see ``PlayersView``, in which nothing names an inject; whoever runs the game sees ``ConsoleView``. All times are
seconds since the start of the game by the clock on the wall. Names and texts of people are as they have typed them:
who shows them escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class SloNow:
    """An objective. ``value`` is over its own stretch, in ``unit``; None for it and ``kept``: not measured (yet)."""

    name: str
    objective: str
    value: float | None
    unit: str
    kept: bool | None


@dataclass(frozen=True)
class AlertNow:
    """An alert that fires."""

    name: str
    severity: str
    labels: Mapping[str, str]
    since_s: float


@dataclass(frozen=True)
class UsedBy:
    """How a gateway uses a replica, by its own word. ``weight`` in per cent of the configured one; ``healthy`` by the
    gateway's own checks, None: it does not tell.
    """

    state: str
    weight: int
    healthy: bool | None = None


@dataclass(frozen=True)
class ComponentNow:
    """A component, by the word of its runtime; of a replica also which gateway uses it how."""

    name: str
    role: str
    state: str
    used_by: Mapping[str, UsedBy]


@dataclass(frozen=True)
class Message:
    """In the channel: what players said (``kind`` as in harness/model/game.py), or what others wrote to them."""

    clock_s: float
    who: str
    kind: str
    text: str


@dataclass(frozen=True)
class OpsDone:
    """A command of the players, and what came of it."""

    clock_s: float
    who: str
    command: str
    outcome: str


@dataclass(frozen=True)
class DiagnosisChoices:
    """What a diagnosis is chosen from: all that there is, and true and false mechanisms."""

    components: tuple[str, ...]
    mechanisms: tuple[str, ...]


@dataclass(frozen=True)
class Hint:
    """One that was bought, for so many points."""

    text: str
    price: int


@dataclass(frozen=True)
class PlayersView:
    """What an on-call has. ``load`` is the users' side in figures, as text."""

    title: str
    briefing: str
    clock_s: float
    lasts_s: float
    slos: tuple[SloNow, ...]
    alerts: tuple[AlertNow, ...]
    components: tuple[ComponentNow, ...]
    channel: tuple[Message, ...]
    ops: tuple[OpsDone, ...]
    diagnosis: DiagnosisChoices
    hints_taken: tuple[Hint, ...]
    load: str


@dataclass(frozen=True)
class InjectNow:
    """An inject, for whoever runs the game.

    ``state``: waiting, due (somebody has to confirm it), running, mitigated, replaying, over, skipped or failed.
    ``due_s`` is None while an act of the players or another inject is waited for, and once it has begun.
    """

    id: str
    title: str
    state: str
    due_s: float | None
    target: str
    variant: str
    proven: bool | None
    users_hit: float | None  # when the first objective was missed
    mitigated_s: float | None
    stays_well: bool | None


@dataclass(frozen=True)
class ConsoleView(PlayersView):
    """All of that and the answers. ``next`` says in words what comes next."""

    injects: tuple[InjectNow, ...]
    next: str
    notes: tuple[Message, ...]


class Board(Protocol):
    """A game that is being played. Whatever is not possible is a UsageError that says what is."""

    def players(self) -> PlayersView:
        """For the players' page."""

    def console(self) -> ConsoleView:
        """For whoever runs the game."""

    # ── players ──

    async def say(self, who: str, kind: str, text: str) -> None:
        """``kind``: found, acknowledged, status or fixed."""

    async def ops(self, who: str, command: str, component: str, value: str) -> str:
        """Do something to the stack; what came of it, in words."""

    async def diagnose(self, who: str, component: str, mechanism: str, since_s: float) -> None:
        """Whether it is right is not told before the end."""

    async def hint(self, who: str) -> str:
        """Buy the next one."""

    # ── who runs the game ──

    async def confirm(self, id: str) -> None:
        """Let an inject begin when it is due."""

    async def skip(self, id: str) -> None:
        """Leave an inject out that has not begun."""

    async def delay(self, id: str, seconds: float) -> None:
        """Let an inject that has not begun come so much later."""

    async def fire(self, id: str) -> None:
        """Let the next inject begin now."""

    async def abort(self, id: str) -> None:
        """Heal an inject that goes on."""

    async def stop_all(self) -> None:
        """Heal everything and end the game."""

    async def note(self, text: str) -> None:
        """Write something down for the report; players do not see it."""
