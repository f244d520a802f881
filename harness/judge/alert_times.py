"""How long an expected alert may take, and whether a scenario's phases last long enough to tell.

A bound is what the stack needs until a rule's series show the fault or its end, and what the rule itself may take. An
alert that has not come when a shorter phase ends proves nothing, so nobody asks for it in such a scenario.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from harness.judge.drill import Expected
from harness.model.alert_rules import BY_NAME, Scale
from harness.model.scenario import Phase

#: A phase has to last so much longer than the bound: the injection takes its time, and so does looking.
SPARE_S = 2.0


def fires_within_s(one: Expected, scale: Scale) -> float:
    """From the fault's being in place to the sink, at most."""
    return one.signal_delay_s + BY_NAME[one.alert].fires_within_s(scale)


def clears_within_s(alert: str, clear_delay_s: float, scale: Scale) -> float:
    """From the heal to the sink, at most."""
    return clear_delay_s + BY_NAME[alert].clears_within_s(scale)


def can_fire(one: Expected, phases: Sequence[Phase], scale: Scale) -> bool:
    """Whether its phase lasts long enough. A phase that is not planned is for the check itself to miss."""
    planned = [phase for phase in phases if phase.name == one.phase]
    return all(fires_within_s(one, scale) + SPARE_S <= phase.duration for phase in planned)


def can_clear(alert: str, clear_delay_s: float, phase: str, phases: Sequence[Phase], scale: Scale) -> bool:
    """Whether what follows the phase, up to the next fault, lasts long enough. One that waits for it counts whole."""
    names = [one.name for one in phases]
    if phase not in names:
        return True
    following = takewhile(lambda one: not one.faults, phases[names.index(phase) + 1 :])
    lasts_s = sum(one.longest if one.until == "alerts_cleared" else one.duration for one in following)
    return clears_within_s(alert, clear_delay_s, scale) + SPARE_S <= lasts_s


def too_short(expected: Iterable[Expected], phases: Sequence[Phase], scale: Scale) -> Iterator[str]:
    """One sentence for each alert that the drill expects and this scenario leaves no time for."""
    for one in (one for one in expected if one.fires):
        where = f"{one} in {one.phase}"
        if not can_fire(one, phases, scale):
            yield f"{where}: the phase is too short to tell, it may take {fires_within_s(one, scale):g} s"
        elif not can_clear(one.alert, one.clear_delay_s, one.phase, phases, scale):
            bound = clears_within_s(one.alert, one.clear_delay_s, scale)
            yield f"{where}: what follows is too short to see it clear, which may take {bound:g} s"
