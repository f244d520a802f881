"""Heals a run whose harness died without saying so: SIGKILL, out of memory, a machine that stops programs.

``python -m harness.watchdog RUNFOLDER LOCK`` is started with every run, in a session of its own, and reads from a pipe
that only the harness holds. A word on the pipe means that the run has ended. The end of the pipe without it means that
the harness is gone: the kernel closes it however the harness ends. Then what is in the undo journal is taken back, what
else is wrong with the stack is repaired as the doctor does it, and the load generator is ended. That takes seconds, and
nobody else gets the stack meanwhile: the watchdog holds the run's lock too (``LOCK`` is its file descriptor). At last
it waits until what was started again is ready, and judges and renders the interrupted run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from harness import doctor, drill, heal, judge, lock, redact
from harness.errors import DrillyardError
from harness.faults.base import World, take_back, undo_actions
from harness.leftovers.base import Processes
from harness.record import CAPACITY, EventLog, RunFolder
from harness.undo import Journal
from reports import render
from stack.runtimes import family

_ENDED = b"ended\n"
#: The load generator notices by itself that its parent is gone, and writes its files; then it is ended.
LOAD_ENDS_WITHIN_S = 3.0
#: What could not be taken back at once is tried again for so long.
HEAL_WITHIN_S = 20.0
#: An order that the harness had sent before it died is carried out within this.
STRAGGLERS_S = 0.5


class Watchdog:
    """The watchdog of one run, as the harness holds it. Leaving the block tells it that the run has ended."""

    def __init__(self, folder: RunFolder, lock_descriptor: int) -> None:
        self._folder, self._lock = folder, lock_descriptor
        self.start()

    def start(self) -> None:
        """Start it, or another one when it died."""
        with (self._folder.path / "logs" / "watchdog.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.watchdog", str(self._folder.path), str(self._lock)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=drill.ROOT,
                start_new_session=True,
                pass_fds=(self._lock,),
            )

    @property
    def alive(self) -> bool:
        """Whether it is there."""
        return self._process.poll() is None

    def __enter__(self) -> Watchdog:
        """It was started already."""
        return self

    def __exit__(self, *_: object) -> None:
        """It ends too, unless something is still to be done: then it does that."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate(_ENDED, timeout=10)


def main(path: Path, lock_descriptor: int) -> int:
    """Wait for the harness to end; heal, judge and render when it did not do that itself."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    undo_actions()  # imported now: later there is no time for it
    ended = sys.stdin.buffer.read() == _ENDED
    folder = RunFolder(path)
    journal = Journal(path / "undo.jsonl")
    judged = folder.plan()["drill"] != CAPACITY
    if ended and not journal.open_entries() and (not judged or (path / "report.html").exists()):
        return 0
    lock.rename(lock_descriptor, f"the watchdog of run {path.name}, which takes back what that run left")
    log = EventLog(folder, float(folder.plan()["anchor"]["mono_s"]))
    if not ended:
        log.add("interrupted", signal="the harness died; the watchdog heals")
    try:
        _recover(folder, journal, log)
        lock.give_back(lock_descriptor)
        os.close(lock_descriptor)
        if (world := doctor.site(folder).world) is not None:
            heal.watch_start(world.runtime, log)
    except DrillyardError as error:
        log.add("cleanup_problem", why=str(error))
    finally:
        log.close()
    if judged:
        judge.write(folder, judge.judge(folder, drill.load(folder.plan()["drill"])))
        render.render(folder)
    return 0


def _recover(folder: RunFolder, journal: Journal, log: EventLog) -> None:
    """What takes the stack from others: it works as before, and nothing of the run is left but its folder."""
    if (world := doctor.site(folder).world) is not None:
        _heal(world, journal, log)
    doctor.repair_for(folder, partial(_note, log))
    _end_load(folder, log)


def _heal(world: World, journal: Journal, log: EventLog) -> None:
    """Take back what the journal says; then once more, for orders that were on their way when the harness died."""
    entries = journal.open_entries()
    if problems := heal.take_everything_back(world, journal, log, HEAL_WITHIN_S):
        log.add("cleanup_problem", why="still injected: " + "; ".join(problems))
    elif entries:
        time.sleep(STRAGGLERS_S)
        for undo in entries:
            with contextlib.suppress(DrillyardError):  # it has worked once; the doctor looks at what is there now
                take_back(world, undo)


def _end_load(folder: RunFolder, log: EventLog) -> None:
    """See the load generator end; it is ended when it does not within seconds."""
    deadline = time.monotonic() + LOAD_ENDS_WITHIN_S
    while (load := Processes.now().of_run("harness.load", folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if load:
        _note(log, "the load generator does not end by itself: it is ended")
        family.end(load, 1.0)


def _note(log: EventLog, text: str) -> None:
    log.add("note", text=text)


if __name__ == "__main__":
    redact.learn_environment(os.environ)
    sys.stderr = redact.Stream(sys.stderr)
    try:
        status = main(Path(sys.argv[1]), int(sys.argv[2]))
    except DrillyardError as error:
        print(f"drillyard watchdog: {error}", file=sys.stderr)
        status = error.exit_code
    # Threads of libraries must not keep a watchdog alive that has done its work.
    sys.stderr.flush()
    os._exit(status)
