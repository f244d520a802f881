"""Whether the players knew what was wrong: component, mechanism and since when, compared with what was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.evidence.record import Event
from harness.judge.games.times import Times
from harness.model.sealed import Drawn


@dataclass(frozen=True)
class Diagnosis:
    """One answer of the players, part by part."""

    at_s: float
    component: bool
    mechanism: bool
    since: bool

    @property
    def right(self) -> bool:
        """All of it."""
        return self.component and self.mechanism and self.since

    def __str__(self) -> str:
        """Which parts were wrong."""
        parts = {"component": self.component, "mechanism": self.mechanism, "since when": self.since}
        wrong = [name for name, good in parts.items() if not good]
        return f"wrong: {', '.join(wrong)}" if wrong else "right"


def of(drawn: Drawn, times: Times, since_within_s: float, events: Sequence[Event]) -> list[Diagnosis]:
    """Every diagnosis while the inject went on, in order. ``since`` may be off by ``since_within_s``."""
    return [
        Diagnosis(
            event.t_s,
            event.data["component"] in drawn.components,
            event.data["mechanism"] == drawn.mechanism,
            abs(event.data["since_s"] - times.begun_s) <= since_within_s,
        )
        for event in times.during(events, "said")
        if event.data["what"] == "diagnosed"
    ]
