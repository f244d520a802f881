"""What the terminal shows while a drill runs: a live panel on a terminal, plain lines everywhere else."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Mapping

from rich.markup import escape
from rich.status import Status

from harness.adapters.load import Window
from harness.run.terminal import Console

#: Without a terminal: one line about the load every so many seconds.
PLAIN_EVERY_S = 5.0
#: On a terminal the live line changes twice a second; drawn more often it only costs.
LIVE_PER_S = 4
#: What every step of a fault says of itself.
_STEP = ("fault", "phase", "on", "step")


class Progress:
    """One run's progress. ``say`` is for single facts, ``tick`` for the state of the running phase."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr, highlight=False)
        self._status: Status | None = None
        self._started = time.monotonic()
        self._last_plain = 0.0

    def say(self, text: str) -> None:
        """One line, with the seconds since the start."""
        line = f"[dim]{time.monotonic() - self._started:6.1f}s[/dim] {escape(text)}"
        self._show(lambda: self.console.print(line, soft_wrap=True))

    def tick(self, phase: str, left_s: float, windows: list[Window]) -> None:
        """Phase, time left, and the load of the last two seconds."""
        self.figures(f"{phase:<14} {max(left_s, 0):4.0f} s left   {load_line(windows)}")

    def figures(self, text: str, plain_every_s: float = PLAIN_EVERY_S) -> None:
        """What is true now: the live line of a terminal, elsewhere a line every ``plain_every_s`` seconds."""
        if self.console.is_terminal:
            self._show(lambda: self._live(escape(text)))
        elif time.monotonic() - self._last_plain >= plain_every_s:
            self._last_plain = time.monotonic()
            self.say(text)

    def end(self) -> None:
        """Take the live line away. Idempotent."""
        if self._status is not None:
            self._show(self._status.stop)
            self._status = None

    def _live(self, text: str) -> None:
        if self._status is None:
            self._status = self.console.status(text, refresh_per_second=LIVE_PER_S)
            self._status.start()
        self._status.update(text)

    def _show(self, show: Callable[[], None]) -> None:
        """Whoever watched may have closed the terminal: the drill goes on all the same, up to its last heal."""
        try:
            show()
        except (OSError, SystemExit):  # rich ends the program when a pipe breaks
            self.console, self._status = Console(file=io.StringIO(), quiet=True), None


def load_line(windows: list[Window]) -> str:
    """``4.0/s  errors 0  TTFT p95 210 ms  12 in flight`` of the given half-second windows."""
    if not windows:
        return "no load"
    rate = sum(window.started for window in windows) / (0.5 * len(windows))
    unsent = sum(window.outcomes.get("not_sent", 0) for window in windows)
    failed = sum(window.failed for window in windows) - unsent
    errors = f"errors {failed}" + (f"  NOT SENT {unsent} (the load generator's own fault)" if unsent else "")
    ttfts = [window.ttft_p95_ms for window in windows if window.ttft_p95_ms is not None]
    ttft = f"{max(ttfts):.0f} ms" if ttfts else "none yet"
    return f"{rate:5.1f}/s  {errors}  TTFT p95 {ttft}  {windows[-1].in_flight} in flight"


def step_line(step: Mapping[str, object]) -> str:
    """``replica-2: stage (name canary, percent 10)`` of a ``fault_step`` event."""
    more = [f"{key} {value}" for key, value in step.items() if key not in _STEP and value not in ("", None)]
    details = f" ({', '.join(more)})" if more else ""
    return f"{step['on']}: {str(step['step']).replace('_', ' ')}{details}"
