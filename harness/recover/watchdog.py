"""Heals a run whose harness died without saying so, or is stopped: SIGKILL, out of memory, SIGSTOP.

``python -m harness.recover.watchdog RUNFOLDER LOCK`` is started with every run, in a session of its own, with a socket
as its stdin whose other end only the harness holds. Over it comes at once what healing needs (the topology, what is
injected), then every undo record before its injection, and a sign of life every second with the planned end of the
phase; each message is acknowledged, so that the harness knows within seconds whether the watchdog can still heal.

It heals when

- the socket ends without a word: the kernel closes it however the harness ends;
- something is injected, the harness has been silent for a lease, and its phase should have ended a lease ago: it is
  stopped, or hangs. It is told so when it goes on, injects nothing more, and ends.

Then what was injected is rolled back, what else is wrong with the stack is repaired as the doctor does it, and the load
generator is ended. That takes seconds, and nobody else gets the stack meanwhile: the watchdog holds the run's lock too
(``LOCK`` is its file descriptor). When the harness is gone, the watchdog at last waits until what was started again is
ready, and judges and renders the interrupted run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from harness.adapters import gateway
from harness.evidence import records_kept
from harness.evidence.record import NO_DRILLS, EventLog, RunFolder
from harness.faults.base import FaultContext, take_back, undo_actions
from harness.judge import drill
from harness.model import redact
from harness.model.errors import DrillyardError, FaultError, RecordError
from harness.model.journal import Journal
from harness.model.lease import LEASE_S, Channel, Heart, Lease
from harness.model.topology import Topology
from harness.recover import doctor, heal, lock
from harness.recover.leftovers.base import Processes
from reports import render
from stack import stacks, state
from stack.runtimes import family

#: Of the plan, what healing needs.
PLANNED = ("run_id", "drill", "instance", "topology", "anchor")
#: From its start to its first sign of life: Python and all that healing imports, on a machine that is busy.
START_WITHIN_S = 60.0
#: It ends within this after the run, unless it says that there still is something to do.
ENDS_WITHIN_S = 10.0
#: The load generator notices by itself that its parent is gone, and writes its files; then it is ended.
LOAD_ENDS_WITHIN_S = 3.0
#: What could not be rolled back at once is tried again for so long.
HEAL_WITHIN_S = 20.0
#: An order that the harness had sent before it died is carried out within this.
STRAGGLERS_S = 0.5


class Watchdog:
    """The watchdog of one run, as the harness holds it. Leaving the block tells it that the run has ended."""

    def __init__(self, folder: RunFolder, lock_descriptor: int) -> None:
        plan = folder.plan()
        self._path, self._lock = folder.path, lock_descriptor
        self._plan = {key: plan[key] for key in PLANNED}
        self._open: dict[str, Mapping[str, Any]] = {}  # undo records
        self._until_s = 0.0  # planned end of the phase, monotonic
        self._said = self._heard = 0  # messages, by number
        self._busy = False
        self._news = threading.Condition(threading.RLock())
        #: Why it has taken over; "" as long as it has not.
        self.taken = ""
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        self._heart = Heart(self._beat)

    def start(self) -> None:
        """Start it, or another one in the place of one that died, is stopped or hangs."""
        with self._news:
            self._end_process()
            ours, theirs = socket.socketpair()
            self._channel, self._lease = Channel(ours), Lease(START_WITHIN_S)
            self._say(plan=self._plan, open=list(self._open.values()))
            with theirs, self._log() as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "harness.recover.watchdog", str(self._path), str(self._lock)],
                    stdin=theirs.fileno(),
                    stdout=log,
                    stderr=log,
                    cwd=drill.ROOT,
                    start_new_session=True,
                    pass_fds=(self._lock,),
                )
            hear = threading.Thread(target=self._hear, args=(self._channel, self._lease), daemon=True)
            hear.start()

    @property
    def alive(self) -> bool:
        """Whether it is there and answers."""
        return self._process is not None and self._process.poll() is None and not self._lease.lapsed

    def expect(self, until_mono_s: float) -> None:
        """The phase that begins now is planned to end at that monotonic time."""
        self._until_s = until_mono_s
        self._beat()

    def tell(self, line: Mapping[str, Any]) -> None:
        """Hand over a line of the undo journal. FaultError when a record is not acknowledged: nothing may be injected.

        Blocks until then; meanwhile somebody else may put another watchdog in the place of a silent one.
        """
        with self._news:
            if "done" in line:
                self._open.pop(str(line["done"]), None)
            else:
                self._open[str(line["id"])] = line
            number = self._say(line=dict(line))
            if "done" in line:
                return
            known = self._news.wait_for(lambda: self.taken or self._heard >= number, LEASE_S + START_WITHIN_S)
        if self.taken:
            raise FaultError(f"{self.taken}; no further fault is injected")
        if not known:
            raise FaultError(
                "no watchdog acknowledged the undo record (logs/watchdog.log of the run): nothing is injected"
            )

    def __enter__(self) -> Watchdog:
        """It was started already."""
        return self

    def __exit__(self, *_: object) -> None:
        """It ends too, unless something is still to be done: then it does that."""
        self._heart.stop()
        with self._news:
            self._say(ended=True)
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDS_WITHIN_S)
        if not self._busy:  # it is stopped, and would keep the stack from others
            self._end_process()
        self._channel.close()

    def _log(self) -> BinaryIO:
        try:
            return (self._path / "logs" / "watchdog.log").open("ab")
        except OSError:  # the folder is gone: what is injected is rolled back all the same
            return Path(os.devnull).open("ab")

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._channel.close()

    def _beat(self) -> None:
        with self._news:
            self._say()

    def _say(self, **data: Any) -> int:
        """Send it; the number of the message. Whether it has arrived is known from the answer."""
        self._said += 1
        with contextlib.suppress(OSError):
            self._channel.send({"number": self._said, "until_s": self._until_s, **data})
        return self._said

    def _hear(self, channel: Channel, lease: Lease) -> None:
        """Take the answers of one watchdog, until it has gone."""
        with contextlib.suppress(EOFError):
            while True:
                if (answer := channel.receive()) is None:
                    continue
                lease.renew()
                with self._news:
                    self._heard = max(self._heard, answer.get("heard", 0))
                    self._busy = self._busy or "busy" in answer
                    self.taken = self.taken or answer.get("taken", "")
                    self._news.notify_all()


class How(Enum):
    """What has become of the harness."""

    ENDED = "it said that the run has ended"
    DIED = "the harness died; the watchdog heals"
    STOPPED = f"the harness was stopped for {LEASE_S:g} s and beyond the end of its phase; the watchdog heals"


class _Told(RunFolder):
    """The run folder, with that of the plan that was told: whatever has become of the folder meanwhile."""

    def __init__(self, path: Path, plan: dict[str, Any]) -> None:
        super().__init__(path)
        self._plan = plan

    def plan(self) -> dict[str, Any]:
        """What of the plan healing needs (``PLANNED``)."""
        return self._plan


class Charge:
    """The harness, as its watchdog hears it."""

    def __init__(self, path: Path, channel: Channel, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel, self._clock, self._lease = channel, clock, Lease(clock=clock)
        self._until_s = 0.0
        self._taken = False
        self.journal = Journal(path / "undo.jsonl")
        self.folder = _Told(path, {})

    def watch(self) -> How:
        """Return when the run has ended, or when its harness has to be stood in for."""
        while True:
            try:
                message = self._channel.receive()
            except EOFError:
                return How.DIED
            if message is not None:
                self._take(message)
                if "ended" in message:
                    return How.ENDED
            elif self._overdue:
                self._taken = True
                self._answer({"taken": How.STOPPED.value})
                return How.STOPPED

    def busy(self) -> None:
        """Say that there is something to do."""
        self._answer({"busy": True})

    def _take(self, message: dict[str, Any]) -> None:
        self._lease.renew()
        self._until_s = message["until_s"]
        if "plan" in message:
            self.folder = _Told(self.folder.path, message["plan"])
        for line in [*message.get("open", ()), *([message["line"]] if "line" in message else ())]:
            self.journal.hear(line)
        self._answer({"taken": How.STOPPED.value} if self._taken else {"heard": message["number"]})

    @property
    def _overdue(self) -> bool:
        silent = self._lease.lapsed  # to be asked regularly
        late = self._clock() > self._until_s + LEASE_S
        return silent and late and not self._taken and bool(self.journal.open_entries())

    def _answer(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it is gone, which is seen next
            self._channel.send(message)


def ready() -> None:
    """Import now what healing needs: later there is no time for it, and the files may be gone."""
    undo_actions()
    gateway.load()
    stacks.restored(Topology(stacks.find(stacks.DEFAULT)).as_data())


def main(path: Path, lock_descriptor: int, channel: Channel) -> int:
    """Wait for the harness to end; heal, judge and render when it did not do that itself."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ready()
    charge = Charge(path, channel)
    while (how := charge.watch()) is How.STOPPED:
        _heal_the_stopped(charge)
    judged = charge.folder.plan()["drill"] not in NO_DRILLS
    if how is How.ENDED and not charge.journal.open_entries() and (not judged or (path / "report.html").exists()):
        return 0
    charge.busy()
    lock.rename(lock_descriptor, f"the watchdog of run {path.name}, which takes back what that run left")
    with _log(charge, how) as log:
        try:
            _recover(charge, log)
            lock.give_back(lock_descriptor)
            os.close(lock_descriptor)
            if (context := doctor.site(charge.folder).context) is not None:
                heal.watch_start(context.runtime, log)
        except DrillyardError as error:
            log.add("cleanup_problem", why=str(error))
    if judged:
        folder = RunFolder(path)
        with contextlib.suppress(RecordError):
            records_kept.seal(folder)
        render.judged(folder, drill.load(folder.plan()["drill"]))
    return 0


def _heal_the_stopped(charge: Charge) -> None:
    """The harness still holds the lock, and judges when it goes on: nothing may be left meanwhile."""
    with _log(charge, How.STOPPED) as log:
        try:
            _recover(charge, log)
        except DrillyardError as error:
            log.add("cleanup_problem", why=str(error))


@contextlib.contextmanager
def _log(charge: Charge, how: How) -> Iterator[EventLog]:
    log = EventLog(charge.folder, float(charge.folder.plan()["anchor"]["mono_s"]))
    if how is not How.ENDED:
        log.add("interrupted", signal=how.value)
    try:
        yield log
    finally:
        log.close()


def _recover(charge: Charge, log: EventLog) -> None:
    """What takes the stack from others: it works as before, and nothing of the run is left but its folder."""
    state.follow_checkout()
    if charge.journal.open_entries() and (context := _context(charge.folder)) is not None:
        _heal(context, charge.journal, log)
    doctor.repair_for(charge.folder, partial(_note, log))
    _close_what_went_with_the_stack(charge, log)
    _end_load(charge.folder, log)


def _close_what_went_with_the_stack(charge: Charge, log: EventLog) -> None:
    """Whose supervisor died with the harness: the rest of the stack has been ended, and every fault with it."""
    site = doctor.site(charge.folder)
    if site.stack is None and not site.lives:
        for undo in charge.journal.open_entries():
            heal.gone_with_the_stack(charge.journal, undo, log)


def _context(folder: RunFolder) -> FaultContext | None:
    """As it was told, whatever has become of the files; None when the stack's supervisor is gone for sure."""
    with contextlib.suppress(DrillyardError):
        site = doctor.site(folder)
        if site.stack is not None and site.supervisor_gone:
            return None
    return heal.here(stacks.restored(folder.plan()["topology"]))


def _heal(context: FaultContext, journal: Journal, log: EventLog) -> None:
    """Take back what the journal says; then once more, for orders that were on their way when the harness died."""
    entries = journal.open_entries()
    if problems := heal.take_everything_back(context, journal, log, HEAL_WITHIN_S, "the watchdog"):
        log.add("cleanup_problem", why="still injected: " + "; ".join(problems))
    elif entries:
        time.sleep(STRAGGLERS_S)
        for undo in entries:
            with contextlib.suppress(DrillyardError):  # it has worked once; the doctor looks at what is there now
                take_back(context, undo)


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
        status = main(Path(sys.argv[1]), int(sys.argv[2]), Channel(socket.socket(fileno=sys.stdin.fileno())))
    except DrillyardError as error:
        print(f"drillyard watchdog: {error}", file=sys.stderr)
        status = error.exit_code
    # Threads of libraries must not keep a watchdog alive that has done its work.
    sys.stderr.flush()
    os._exit(status)
