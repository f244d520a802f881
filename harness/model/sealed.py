"""What is drawn of a game: variants, targets, times, decoys. Sealed before it begins, published when it has ended.

Players may know the game's file and must not know the answers. So the draw follows from a seed; what is shown at the
start is only its digest with a random salt, and with seed, draw and salt anybody can check it afterwards.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.model.game import Game, Inject, Variant
from harness.model.scenario import FaultSpec

#: Type and ``on`` of a fault → the targets that it may be put on, in the topology's order.
Targets = Callable[[str, str], Sequence[str]]


@dataclass(frozen=True)
class Drawn:
    """What was drawn of an inject. ``later_s`` is the part of ``spread``, ``decoy_after_s`` counts from the inject."""

    inject: str
    variant: int
    mechanism: str
    faults: tuple[FaultSpec, ...]  # each on its target
    components: tuple[str, ...]  # the right answers to «where»
    later_s: float
    decoy: int
    decoy_after_s: float

    @property
    def target(self) -> str:
        """What a hint names: the first right answer to «where»."""
        return self.components[0]


@dataclass(frozen=True)
class Sealed:
    """A game's answers."""

    game: str
    seed: int
    injects: tuple[Drawn, ...]

    def digest(self, salt: str) -> str:
        """SHA-256 of all of it, as hexadecimal digits. Without a secret salt, seeds could be tried out."""
        data = json.dumps(dataclasses.asdict(self), sort_keys=True, default=FaultSpec.model_dump)
        return hashlib.sha256(f"{salt}\n{data}".encode()).hexdigest()


def draw(game: Game, targets: Targets, seed: int) -> Sealed:
    """The draw that follows from ``seed``: of each inject by itself, so that a change of one leaves the others alone.

    ValueError where a fault has no target.
    """
    return Sealed(game.name, seed, tuple(_drawn(inject, targets, seed) for inject in game.injects))


def candidates(variant: Variant, targets: Targets) -> dict[str, list[str]]:
    """Each ``on`` of its faults → what all of them that say so can be put on."""
    found: dict[str, list[str]] = {}
    for fault in variant.faults:
        mine = targets(fault.type, fault.on)
        found[fault.on] = [name for name in found.get(fault.on, mine) if name in mine]
    return found


def possibilities(inject: Inject, targets: Targets) -> int:
    """How many different answers the draw may give: variants with their targets."""
    return sum(math.prod(map(len, candidates(variant, targets).values())) for variant in inject.variants)


def _drawn(inject: Inject, targets: Targets, seed: int) -> Drawn:
    lot = random.Random(f"{seed}/{inject.id}")
    number = lot.randrange(len(inject.variants))
    variant = inject.variants[number]
    on = {}
    for glob, names in candidates(variant, targets).items():
        if not names:
            raise ValueError(f"inject {inject.id!r}: nothing can be drawn for {glob!r}")
        on[glob] = lot.choice(names)
    decoy = lot.randrange(len(inject.decoys))
    return Drawn(
        inject=inject.id,
        variant=number,
        mechanism=variant.mechanism,
        faults=tuple(fault.model_copy(update={"on": on[fault.on]}) for fault in variant.faults),
        components=tuple(dict.fromkeys(on.get(one, one) for one in variant.where or on)),
        later_s=_seconds(lot, inject.when.spread),
        decoy=decoy,
        decoy_after_s=inject.decoys[decoy].delay + _seconds(lot, inject.decoys[decoy].spread),
    )


def _seconds(lot: random.Random, at_most_s: float) -> float:
    """Whole seconds."""
    return float(lot.randint(0, int(at_most_s)))
