"""The objectives of a game while it goes on: each is looked at twice a second, and each change is an event.

An objective is kept while its indicator, over the last ``for`` of what users saw, is on the good side. It is not
measured while less than that was seen, or when nothing ended in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.adapters.load import Window
from harness.judge import objectives
from harness.model import sparse
from harness.model.game import LiveSLO
from harness.plan.stop_conditions import LIVE
from harness.run.board import SloNow

#: A window is half a second: so much of the stretch may be missing at its begin.
_WINDOW_S = 1.5

#: Records an event of the game: its kind and its data.
Tell = Callable[..., object]


def measured(sli: str, windows: Sequence[Window]) -> float | None:
    """The indicator over all of these windows together; None when there was nothing to see."""
    if sli == "ttft_p95_ms":  # each window's own says little: some have two answers
        return sparse.quantile_ms(sparse.merged(window.ttft_ms for window in windows), 0.95)
    found = LIVE[sli][1](windows)
    return None if found is None else found[0]


@dataclass
class _Objective:
    """One of them, and what was last seen of it."""

    slo: LiveSLO
    value: float | None = None
    kept: bool | None = None

    def look(self, windows: Sequence[Window], now_s: float) -> bool:
        """Whether it has changed, or is known for the first time. Once it is known it stays so while nothing ends."""
        recent = [window for window in windows if window.t_s > now_s - self.slo.hold]
        enough = bool(recent) and recent[0].t_s <= now_s - self.slo.hold + _WINDOW_S
        self.value = measured(self.slo.sli, recent) if enough else None
        if self.value is None:
            return False
        limit = objectives.evaluate(objectives.parse(self.slo.objective), _no_names)
        before, self.kept = self.kept, limit.met_by(self.value)
        return before is not self.kept

    def now(self) -> SloNow:
        """As players see it."""
        unit = LIVE[self.slo.sli][0]
        return SloNow(self.slo.name, self.slo.objective, self.value, unit, self.kept)


class Slos:
    """All of a game. ``changed`` is told of each moment at which all are kept, or not all any more."""

    def __init__(self, slos: Sequence[LiveSLO], event: Tell, changed: Callable[[bool], None]) -> None:
        self._all = [_Objective(one) for one in slos]
        self._event, self._changed = event, changed
        self._before: bool | None = None
        self.longest_s = max(one.hold for one in slos)

    @property
    def kept(self) -> bool | None:
        """Whether all are; None before each was measured once."""
        states = [one.kept for one in self._all]
        return None if None in states else all(states)

    def now(self) -> tuple[SloNow, ...]:
        """Each of them."""
        return tuple(one.now() for one in self._all)

    def look(self, windows: Sequence[Window], now_s: float) -> None:
        """Look at all of them. ``windows``: at least the last ``longest_s`` of what the load generator has reported."""
        for one in self._all:
            if one.look(windows, now_s):
                self._event("slo", name=one.slo.name, kept=one.kept, value=one.value)
        kept, before = self.kept, self._before
        if kept is not None and kept is not before:
            self._before = kept
            self._changed(kept)


def _no_names(name: str) -> float:
    raise AssertionError(f"{name} in an objective of a game")
