"""What a run needs, handed by the pipeline to whoever conducts it, before anything is touched."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.evidence.record import EventLog, RunFolder
from harness.judge.drill import Check
from harness.model.scenario import Scenario
from harness.plan.defects import Switch
from harness.run.progress import Progress
from stack.runtimes.base import Runtime


class Watchdog(Protocol):
    """Who heals when the harness is killed or stopped (harness/recover/watchdog.py)."""

    @property
    def alive(self) -> bool:
        """Whether it is there and answers."""

    @property
    def taken(self) -> str:
        """Why it has taken over; "" as long as it has not."""

    def start(self) -> None:
        """Start it, or another one in the place of one that is not alive."""

    def expect(self, until_mono_s: float) -> None:
        """The phase that begins now is planned to end at that monotonic time."""

    def tell(self, line: Mapping[str, Any]) -> None:
        """Hand over a line of the undo journal; blocks until it is known. FaultError when it is not."""


@dataclass(frozen=True)
class Run:
    """One run: what is to be done, with what, and where it is recorded."""

    folder: RunFolder
    scenario: Scenario
    runtime: Runtime
    progress: Progress
    log: EventLog
    seed: int
    zero_mono_s: float
    watchdog: Watchdog
    checks: tuple[Check, ...] = ()  # that it will be asked
    switches: tuple[Switch, ...] = ()  # of the simulator, on for this run
    caught: list[signal.Signals] = field(default_factory=list)  # what interrupted it, whatever could be recorded

    def note(self, text: str) -> None:
        """Record and show a fact."""
        self.log.add("note", text=text)
        self.progress.say(text)
