"""A session without a stack: what a timeline and an injector do on it can be seen in its log and on its screen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from harness.evidence.record import RunFolder
from harness.model.errors import RecordError
from harness.run.run import Run
from harness.run.session import Session


class Log:
    """Stands for a run's log."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.now_s = clock
        self.failed: RecordError | None = None
        self.events: list[dict[str, Any]] = []

    def add(self, kind: str, **data: Any) -> None:
        """Keep an event."""
        self.events.append({"kind": kind, **data})

    @property
    def kinds(self) -> list[str]:
        """Of all events so far."""
        return [event["kind"] for event in self.events]


class Screen:
    """Stands for a run's progress."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.ticks: list[Any] = []
        self.ended = False

    def say(self, text: str) -> None:
        """Keep a line."""
        self.said.append(text)

    def tick(self, what: str, left_s: float, windows: list[Any]) -> None:
        """Keep the load that is shown."""
        self.ticks.append(windows)

    def end(self) -> None:
        """The live line is taken away."""
        self.ended = True


def ticking() -> Callable[[], float]:
    """A clock that goes on a second whenever somebody looks."""
    seconds = iter(range(1, 1_000_000))
    return lambda: float(next(seconds))


def session(folder: Path, **of_run: Any) -> Session:
    """A session that has not begun, of a run with these fields; the others hold doubles, or nothing."""
    fields: dict[str, Any] = {
        "scenario": None,
        "runtime": None,
        "progress": Screen(),
        "log": Log(),
        "seed": 1,
        "zero_mono_s": 0.0,
        "watchdog": SimpleNamespace(alive=True, taken="", tell=lambda line: None, expect=lambda until_s: None),
    }
    return Session(Run(RunFolder(folder), **{**fields, **of_run}))


def log(of: Session) -> Log:
    """Its log."""
    return cast(Log, of.run.log)


def screen(of: Session) -> Screen:
    """Its progress."""
    return cast(Screen, of.run.progress)
