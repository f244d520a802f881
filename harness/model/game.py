"""A game day as data: who plays, what breaks and when, what is expected, and how it is scored.

Strict data from ``scenarios/games/*.yaml``. Players never see the injects; what is drawn of them is sealed
(harness/model/sealed.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from harness.model.scenario import FaultSpec, LoadSpec, Seconds, StopCondition, Strict

#: What players can do to the stack, and what they can say: an inject may wait for ``ops.restart`` or ``say.found``.
OPS = ("drain", "undrain", "restart", "weight", "scale", "rollback", "cap")
SAYS = ("found", "acknowledged", "diagnosed", "status", "fixed")
ACTS = (*(f"ops.{one}" for one in OPS), *(f"say.{one}" for one in SAYS))
#: What each inject is worth, in points. A game's score is the mean of its injects'.
POINTS = 100
#: In a hint, what stands for the drawn target.
TARGET = "target"


class Role(Strict):
    """Somebody in the room: of the players, or of those who run the game (``control``)."""

    name: str = Field(min_length=1, max_length=60)
    duty: str = Field(min_length=1)
    how_many: int = Field(default=1, ge=1, le=100)
    side: Literal["players", "control"]
    may_stop: bool = False  # ends the game by their own decision; anybody may ask for it


class When(Strict):
    """When an inject begins: one of ``at``, ``after`` and ``on``; up to ``spread`` later, by lot.

    ``at`` counts from the start of the game. ``after`` is another inject, which is over: mitigated or healed, and
    watched. ``on`` is an act of the players. Both are followed after ``delay``. ``at_most``: no act until then, and it
    begins all the same.
    """

    at: Seconds | None = None
    after: str | None = None
    on: str | None = None
    at_most: Seconds | None = None
    delay: Seconds = 0.0
    spread: Seconds = 0.0


class Variant(Strict):
    """One way in which an inject may happen. ``on`` of its faults may be a glob: one target is drawn for each.

    ``mechanism`` is the right answer to «what is wrong», in plain words. The right answers to «where» are the drawn
    targets, or where it says ``where`` only these: an ``on`` of its faults (the target drawn for it), or a name.
    """

    mechanism: str = Field(min_length=1, max_length=200)
    faults: tuple[FaultSpec, ...] = Field(min_length=1)
    symptoms: str = Field(min_length=1)
    where: tuple[str, ...] = ()


class Hint(Strict):
    """What the facilitator sells for ``price`` points. ``{target}`` in it is the drawn target."""

    text: str = Field(min_length=1)
    price: int = Field(ge=0, le=POINTS)


class Decoy(Strict):
    """A false lead: what somebody ``says``, ``delay`` after the inject and up to ``spread`` later.

    ``mechanism`` is the wrong answer that it suggests; the diagnosis list has it.
    """

    says: str = Field(min_length=1)
    mechanism: str = Field(min_length=1, max_length=200)
    delay: Seconds = 60.0
    spread: Seconds = 60.0


class Inject(Strict):
    """Something that goes wrong; one of ``variants`` is drawn, and one of ``decoys`` is sent.

    It is healed after ``lasts_at_most``, mitigated or not. ``replay``: once it is mitigated, the trigger comes again
    for so long. Without it the objectives just have to hold for the game's ``stays_well_for``.
    """

    id: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    title: str = Field(min_length=1)
    when: When
    variants: tuple[Variant, ...] = Field(min_length=1)
    decoys: tuple[Decoy, ...] = Field(min_length=1)
    lasts_at_most: Seconds
    replay: Seconds | None = None
    expected: tuple[str, ...] = Field(min_length=1)
    watch: tuple[str, ...] = Field(min_length=1)
    hints: tuple[Hint, ...] = Field(min_length=1)
    stop_when: tuple[StopCondition, ...] = ()


class LiveSLO(StopCondition):
    """An objective that is looked at while the game goes on: kept while ``sli``, over the last ``for``, meets it."""

    name: str = Field(min_length=1)


class Weights(Strict):
    """The points of each part of the score of an inject; ``POINTS`` in all."""

    detected: int = Field(ge=0)
    acknowledged: int = Field(ge=0)
    diagnosed: int = Field(ge=0)
    mitigated: int = Field(ge=0)
    stays_well: int = Field(ge=0)
    communicated: int = Field(ge=0)

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.model_dump().values())


class Par(Strict):
    """Within which time after the inject a part earns all its points; later it earns less, down to none."""

    detected: Seconds
    acknowledged: Seconds
    diagnosed: Seconds
    mitigated: Seconds


class Around(Strict):
    """How long the people are needed before and after the game."""

    set_up: Seconds = 1800.0
    briefing: Seconds = 900.0
    hot_wash: Seconds = 1800.0


class Game(Strict):
    """One game file. Injects come one after the other, in the order of the file.

    Players see title, briefing, objectives, ``slos`` and how it is scored: nothing in these may name an inject.
    ``since_within`` is how far a diagnosis may be off about when it began, ``status_every`` how often users want to
    hear while something is wrong.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str = Field(min_length=1, max_length=100)
    lasts: Seconds
    around: Around = Around()
    briefing: str = Field(min_length=1)
    objectives: tuple[str, ...] = Field(min_length=1)
    roles: tuple[Role, ...] = Field(min_length=1)
    load: LoadSpec
    slos: tuple[LiveSLO, ...] = Field(min_length=1)
    stays_well_for: Seconds = 120.0
    since_within: Seconds = 120.0
    status_every: Seconds = 600.0
    weights: Weights
    par: Par
    injects: tuple[Inject, ...] = Field(min_length=1)
    stop_when: tuple[StopCondition, ...] = Field(min_length=1)
    hot_wash: tuple[str, ...] = Field(min_length=1)

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What a diagnosis can say is wrong: true and false ones, sorted, so that their order reveals nothing."""
        true = {variant.mechanism for inject in self.injects for variant in inject.variants}
        false = {decoy.mechanism for inject in self.injects for decoy in inject.decoys}
        return tuple(sorted(true | false))

    def of_side(self, side: str) -> tuple[Role, ...]:
        """The roles of ``players`` or of ``control``."""
        return tuple(role for role in self.roles if role.side == side)


@dataclass(frozen=True)
class Window:
    """When an inject begins, at the earliest and at the latest, and when it is over; seconds since the game's start."""

    earliest_s: float
    latest_s: float
    over_s: float  # at the latest: healed, and watched for long enough to say that it stays well


def windows(game: Game) -> dict[str, Window]:
    """Inject → its window. KeyError for one that follows an inject which does not stand before it."""
    found: dict[str, Window] = {}
    for inject in game.injects:
        found[inject.id] = window(game, inject, found)
    return found


def window(game: Game, inject: Inject, before: Mapping[str, Window]) -> Window:
    """Of one inject, where those ``before`` it are known. KeyError for one that follows another."""
    when, last = inject.when, list(before.values())[-1:]
    free_from_s = max((one.earliest_s + game.stays_well_for for one in last), default=0.0)
    free_by_s = max((one.over_s for one in last), default=0.0)
    if when.after is not None:
        followed = before[when.after]
        earliest_s = max(free_from_s, followed.earliest_s + game.stays_well_for + when.delay)
        latest_s = max(free_by_s, followed.over_s + when.delay)
    elif when.at is not None:
        earliest_s = latest_s = when.at
    else:
        earliest_s, latest_s = free_from_s + when.delay, (when.at_most or 0.0) + when.delay
    latest_s += when.spread
    return Window(earliest_s, latest_s, latest_s + inject.lasts_at_most + game.stays_well_for)


def clock(seconds: float) -> str:
    """A moment of a game as its clock shows it: ``12:30``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def length(seconds: float) -> str:
    """A length of time in words: ``45 s``, ``2 min``, ``2.5 min``."""
    return f"{seconds:.3g} s" if seconds < 60 else f"{seconds / 60:.3g} min"


def begins(when: When) -> str:
    """When an inject begins, in words."""
    later = f", up to {length(when.spread)} later" if when.spread else ""
    if when.at is not None:
        return f"at {clock(when.at)}{later}"
    delay = f"{length(when.delay)} after " if when.delay else "at once after "
    if when.after is not None:
        return f"{delay}{when.after} is over{later}"
    bound = "" if when.at_most is None else f", or after {clock(when.at_most)} without it"
    return f"{delay}the players' {when.on}{bound}{later}"


def described(fault: FaultSpec) -> str:
    """A fault with its target and options, on one line."""
    said = ", ".join(f"{name} {value}" for name, value in fault.options.items())
    return f"{fault.type} on {fault.on}{f' ({said})' if said else ''}"
