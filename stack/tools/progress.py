"""What set-up shows while it works: on a terminal one live line per step, else plain lines now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress as LiveLines
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

#: Without a terminal a step that takes longer says so this often.
REMINDER_S = 15.0


class Step:
    """One thing that is being done. ``note`` may be called as often as one likes, with whatever was heard last."""

    def __init__(self, title: str, console: Console, live: LiveLines | None) -> None:
        self.title = title
        self.waiting_for = "begun"  # the last note
        self._console = console
        self._live = live
        self._started = self._reminded = time.monotonic()
        self._task = live.add_task(title, note="") if live else None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._started

    def note(self, text: str) -> None:
        """Show ``text`` (one line; cut to fit) as what is being waited for now."""
        self.waiting_for = text = " ".join(text.split())[:100]
        if self._live is not None and self._task is not None:
            self._live.update(self._task, note=text)
        elif time.monotonic() - self._reminded >= REMINDER_S:
            self._reminded = time.monotonic()
            self._console.print(f"  … {self.title}: {self.elapsed_s:.0f} s so far ({text})", markup=False)


class Progress:
    """Makes steps. ``console`` decides (and tests may force) whether there is a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(soft_wrap=True, highlight=False)

    def say(self, text: str) -> None:
        """One line for people."""
        self._console.print(text, markup=False)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Announce ``title``, show it while the body runs, and say how long it took or that it failed."""
        if self._console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            with LiveLines(
                *columns, TextColumn("[dim]{task.fields[note]}"), console=self._console, transient=True
            ) as live:
                step = Step(title, self._console, live)
                with self._outcome(step):
                    yield step
        else:
            self.say(f"▸ {title}")
            step = Step(title, self._console, None)
            with self._outcome(step):
                yield step

    @contextmanager
    def _outcome(self, step: Step) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.say(f"✗ {step.title} ({step.elapsed_s:.0f} s)")
            raise
        self.say(f"✓ {step.title} ({step.elapsed_s:.0f} s)")
