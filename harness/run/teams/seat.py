"""A seat at the desk of a game: what a program that plays sees and does, over HTTP with the players' token."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from harness.model.errors import AdapterError, UsageError
from harness.model.game import clock

View = Mapping[str, Any]
#: The status changes no faster.
LOOK_EVERY_S = 1.0
#: After so many looks in a row without an answer the game is over.
LOST_AFTER = 10


class PlayersDesk(Protocol):
    """The players' side of a desk (harness/adapters/desk.py)."""

    def status(self) -> dict[str, Any]:
        """What players see."""

    def charts(self, last_s: float) -> list[dict[str, Any]]:
        """What the stack's monitoring has seen."""

    def say(self, who: str, kind: str, text: str) -> None:
        """A message."""

    def ops(self, who: str, command: str, component: str, value: str) -> str:
        """A command; what came of it."""

    def diagnose(self, who: str, component: str, mechanism: str, since: float | str) -> None:
        """What is wrong."""


class Seat:
    """What a player does is never fatal: what the desk refuses or cannot do is told, and the game goes on."""

    def __init__(
        self, desk: PlayersDesk, who: str, tell: Callable[[str], object] = print,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:  # fmt: skip
        self._desk, self.who, self._tell, self.sleep = desk, who, tell, sleep
        self._clock_s = 0.0

    def looks(self) -> Iterator[View]:
        """The status, again and again, from the start of the game until nobody answers any more.

        UsageError for a wrong token.
        """
        lost = 0
        while lost < LOST_AFTER:
            try:
                view = self._desk.status()
            except AdapterError:
                lost += 1
            else:
                lost, self._clock_s = 0, float(view["clock_s"])
                if self._clock_s > 0:
                    yield view
            self.sleep(LOOK_EVERY_S)

    def curves(self, chart: str, last_s: float = 60.0) -> dict[str, list[float]]:
        """Name → measured values of one chart, of the last seconds; nothing where monitoring does not answer."""
        try:
            found = [one for one in self._desk.charts(last_s) if one["id"] == chart]
        except (AdapterError, UsageError):
            return {}
        return {
            curve["name"]: [value for value in curve["values"] if value is not None]
            for one in found
            for curve in one["series"]
        }

    def say(self, kind: str, text: str = "") -> None:
        """found, acknowledged, status, fixed."""
        self._try(f"{kind} {text}".strip(), lambda: self._desk.say(self.who, kind, text))

    def diagnose(self, component: str, mechanism: str, since_s: float) -> None:
        """What is wrong."""
        words = f"diagnosed {component}: {mechanism}, since {clock(since_s)}"
        self._try(words, lambda: self._desk.diagnose(self.who, component, mechanism, max(0.0, since_s)))

    def ops(self, command: str, component: str = "", value: str = "") -> bool:
        """Do something to the stack; whether it was done."""
        words = f"{command} {component} {value}".strip()
        return self._try(words, lambda: self._desk.ops(self.who, command, component, value))

    def _try(self, words: str, order: Callable[[], object]) -> bool:
        try:
            came_of_it = order()
        except (UsageError, AdapterError) as error:
            self._tell(f"{clock(self._clock_s)} {words}: refused: {error}")
            return False
        self._tell(f"{clock(self._clock_s)} {words}{f': {came_of_it}' if came_of_it else ''}")
        return True


def unwell(view: View) -> bool:
    """Whether users miss an objective, or somebody is paged."""
    return any(slo["kept"] is False for slo in view["slos"]) or any(paged(view))


def users_well(view: View) -> bool:
    """Whether every objective is kept."""
    return all(slo["kept"] is True for slo in view["slos"])


def paged(view: View) -> Iterator[str]:
    """The pages that fire, each with its labels."""
    for alert in view["alerts"]:
        if alert["severity"] == "page":
            yield " ".join([alert["name"], *(f"{name}={value}" for name, value in sorted(alert["labels"].items()))])


def names(view: View, role: str) -> list[str]:
    """The components of that role."""
    return [one["name"] for one in view["components"] if one["role"] == role]
