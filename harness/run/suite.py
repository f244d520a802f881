"""A night: the drills of a suite, one after the other, whatever becomes of each.

Every drill is a process of its own, as a user would start it. What is known is written after each step, so a night that
was killed goes on where it was: the entry that was cut off is run again. Read ``night`` first.
"""

from __future__ import annotations

import datetime as dt
import itertools
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.judge.drill import ROOT
from harness.model import night as nights
from harness.model import redact
from harness.model.errors import DrillyardError, UsageError
from harness.model.night import Attempt, Entry, Night
from harness.model.suite import Suite
from harness.model.verdict import Status
from harness.plan import capacity_store
from harness.plan.suite import file_of, length_s
from harness.recover import lock
from harness.run import outcome, pipeline
from stack import state
from stack.runtimes import select

RUNS = ROOT / "runs"
LOCK = ".nightly.lock"
PREFIX = "nightly-"
#: Of one drill, seconds; only a hang reaches it. The first one in Docker builds images.
DRILL_S_MAX = 1800.0
SET_UP_S_MAX = 2400.0
DOWN_S_MAX = 180.0
#: How long a stack that somebody else uses is waited for: a drill that outlived its night heals and judges first.
IN_USE_S_MAX = 900.0
#: An INCONCLUSIVE drill is run once more; a FAIL is an answer.
TRIES = 2

Say = Callable[[str], object]


@dataclass(frozen=True)
class Order:
    """What the user asked for. ``runtimes`` and ``engines`` replace the suite's; ``budget_s`` and ``seed``, too."""

    suite: Suite
    runtimes: Sequence[str] = ()
    engines: Sequence[str] = ()
    budget_s: float | None = None
    seed: int | None = None
    instance: int = 0
    model: str = ""
    runs: Path = RUNS


class Launcher:
    """Where drills are run: the processes that a night starts. Tests have another one."""

    def drill(self, entry: Entry, night: Night, seed: int) -> outcome.Outcome:
        """One run of it, from its start to its end; what it says is passed on."""
        arguments = [entry.drill, *self._where(entry, night), "--seed", str(seed)]
        if entry.scenario != entry.drill:
            arguments += ["--scenario", str(file_of(entry).relative_to(ROOT) if not entry.file else entry.file)]
        if night.model:
            arguments += ["--model", night.model]
        return outcome.run(arguments, DRILL_S_MAX, lambda line: print(line, file=sys.stderr, flush=True))

    def set_up(self, entry: Entry, night: Night) -> str:
        """Bring what its runtime and engine need; "" or why that is not possible."""
        model = ("--model", night.model) if night.model else ()
        command = [sys.executable, "-m", "stack.tools", "install", "--runtime", entry.runtime, "--engine", entry.engine]
        try:
            done = subprocess.run(
                [*command, *model], cwd=ROOT, check=False, timeout=SET_UP_S_MAX, stderr=subprocess.PIPE, text=True
            )
        except subprocess.TimeoutExpired:
            return f"set-up did not end within {SET_UP_S_MAX:.0f} s"
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it said nothing")
        return redact.text(f"set-up failed: {last.strip()}") if done.returncode else ""

    def down(self, entry: Entry, night: Night) -> None:
        """Take the stack down: another engine or runtime has its place next, or nothing has."""
        command = [sys.executable, "-m", "harness", "down", "--runtime", entry.runtime]
        try:
            subprocess.run(
                [*command, "--instance", str(night.instance)],
                cwd=ROOT, check=False, timeout=DOWN_S_MAX, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            print(f"the stack was not down after {DOWN_S_MAX:.0f} s", file=sys.stderr)

    def in_use(self, night: Night) -> str:
        """Who uses the stack; "" for nobody."""
        path = state.STATE_ROOT / str(night.instance) / lock.RUN
        return lock.who(path) if lock.look(path).held else ""

    @staticmethod
    def _where(entry: Entry, night: Night) -> tuple[str, ...]:
        return ("--runtime", entry.runtime, "--engine", entry.engine, "--instance", str(night.instance))


@dataclass
class NightFolder:
    """A night's folder: the state in it is the truth, and is replaced after every step."""

    folder: Path
    night: Night
    say: Say
    launcher: Launcher
    durations: dict[str, float] = field(default_factory=dict)  # entry id → seconds, the last time that it was run

    def keep(self, entry: Entry) -> None:
        """Write down what is known of ``entry`` now."""
        self.night = self.night.with_entry(entry)
        nights.write(self.folder, self.night)

    def note(self, **fields: object) -> None:
        """Write down that it has ended, or that people have been told of it."""
        self.night = self.night.model_copy(update=fields)
        nights.write(self.folder, self.night)


def night(order: Order, say: Say, launcher: Launcher | None = None, resume: bool = False) -> NightFolder:
    """Run the suite to its end, or that of the newest night that was cut off; the state at its end.

    One that had ended, and was cut off before anybody was told, is as it was.

    UsageError when another night is in progress here, or there is none to resume. KeyboardInterrupt ends the drill
    that runs (it heals and judges) and leaves the rest for ``resume``.
    """
    order.runs.mkdir(parents=True, exist_ok=True)
    hint = "wait for its end; two nights at once would judge each other's load"
    with lock.held(order.runs / LOCK, "a night", say, hint, "the nightly run of this checkout"):
        kept = _resumed(order, say, launcher or Launcher()) if resume else _begun(order, say, launcher or Launcher())
        if kept.night.ended is None:
            _play(kept)
            kept.note(ended=_now())
        return kept


def _begun(order: Order, say: Say, launcher: Launcher) -> NightFolder:
    started = _now()
    seed = order.seed if order.seed is not None else random.SystemRandom().randrange(2**31)
    durations = _durations(order.runs)
    folder = _folder(order.runs, started)
    runtimes = [_resolved(name) for name in order.runtimes]
    suite = order.suite.model_copy(update={"runtimes": tuple(dict.fromkeys(map(_resolved, order.suite.runtimes)))})
    entries = suite.planned(seed, runtimes, order.engines)
    opened = Night(
        suite=order.suite.name,
        run_id=folder.name,
        seed=seed,
        started=started,
        ended=None,
        commit=pipeline.git_state()["commit"] or "",
        machine=capacity_store.machine(entries[0].runtime, entries[0].engine).hardware["key"],
        budget_s=order.suite.budget if order.budget_s is None else order.budget_s,
        instance=order.instance,
        model=order.model,
        entries=tuple(entries),
        told=False,
    )
    nights.write(folder, opened)
    say(f"night {folder.name}: {len(entries)} drills within {opened.budget_s / 60:.0f} min, seed {seed}")
    return NightFolder(folder, opened, say, launcher, durations)


def _resumed(order: Order, say: Say, launcher: Launcher) -> NightFolder:
    for folder in reversed(nights.folders(order.runs)):
        try:
            found = nights.read(folder)
        except DrillyardError as error:
            say(f"passed over: {error}")
            continue
        if found.suite == order.suite.name and (found.ended is None or found.told is False):
            _require_the_same(order, found)
            left = sum(not entry.done for entry in found.entries)
            untold = ", and nobody has been told of it" if found.ended else ""
            say(f"night {folder.name} goes on: {left} of {len(found.entries)} drills are left{untold}")
            return NightFolder(folder, found, say, launcher, _durations(order.runs))
    raise UsageError(
        f"no night of the suite {order.suite.name!r} was cut off: there is nothing to resume in {order.runs}"
    )


def _require_the_same(order: Order, found: Night) -> None:
    """UsageError for what was said beside ``resume`` and is not so in the night that goes on."""
    asked = {
        "--seed": (order.seed, found.seed),
        "--budget": (order.budget_s, found.budget_s),
        "--engine": (list(order.engines) or None, sorted({entry.engine for entry in found.entries})),
        "--runtime": ([_resolved(name) for name in order.runtimes] or None, sorted({e.runtime for e in found.entries})),
    }
    for name, (wanted, was) in asked.items():
        if wanted not in (None, was):
            raise UsageError(
                f"--resume goes on with {found.run_id} as it was begun: found {name} {wanted}, it has {was}"
            )


def _folder(runs: Path, started: dt.datetime) -> Path:
    """A new folder of that date; the second one of a day gets a number."""
    day = f"{PREFIX}{started:%Y-%m-%d}"
    for name in itertools.chain([day], (f"{day}-{number}" for number in itertools.count(2))):
        try:
            (runs / name).mkdir(mode=0o700)
            return runs / name
        except FileExistsError:
            continue
    raise AssertionError


def _durations(runs: Path) -> dict[str, float]:
    """How long each entry took the last time that it was judged, by its id; nights that cannot be read say nothing."""
    found: dict[str, float] = {}
    for folder in nights.folders(runs):
        try:
            entries = nights.read(folder).entries
        except DrillyardError:
            continue
        for entry in entries:
            if entry.attempts:
                found[entry.id] = entry.attempts[-1].duration_s
    return found


def _play(kept: NightFolder) -> None:
    """Every entry that is not done, in the night's order. The stack goes down where its runtime or engine changes."""
    place: tuple[str, str] | None = None
    before: Entry | None = None
    trouble = ""
    try:
        for number, entry in enumerate(kept.night.entries, start=1):
            if entry.done:
                continue
            if (entry.runtime, entry.engine) != place:
                if before:
                    kept.launcher.down(before, kept.night)
                place, trouble = (entry.runtime, entry.engine), kept.launcher.set_up(entry, kept.night)
            before = entry
            kept.say(f"{number} of {len(kept.night.entries)}: {entry.id}{_about(kept, entry)}")
            why = trouble or _over_budget(kept, entry) or _waited(kept)
            if why:
                kept.say(f"{entry.id}: not run: {why}")
                kept.keep(entry.model_copy(update={"not_run": why}))
            else:
                _run(kept, entry)
    finally:
        if before:
            kept.launcher.down(before, kept.night)


def _about(kept: NightFolder, entry: Entry) -> str:
    known = kept.durations.get(entry.id)
    return f", at least {length_s(entry) / 60:.1f} min" if known is None else f", about {max(1, round(known / 60))} min"


def _over_budget(kept: NightFolder, entry: Entry) -> str:
    """Why there is no time left for it; "" while there is. One that was never run needs the time of its phases."""
    spent = sum(attempt.duration_s for one in kept.night.entries for attempt in one.attempts)
    left, known = kept.night.budget_s - spent, kept.durations.get(entry.id)
    needed = length_s(entry) if known is None else known
    if left > 0 and needed <= left:
        return ""
    needs = (
        f"its phases take {needed / 60:.1f} min" if known is None else f"it took {needed / 60:.1f} min the last time"
    )
    return f"budget: {max(0.0, left) / 60:.1f} min are left, {needs}"


def _waited(kept: NightFolder) -> str:
    """Wait until nobody uses the stack; why it cannot be had, or ""."""
    until = time.monotonic() + IN_USE_S_MAX
    told = False
    while user := kept.launcher.in_use(kept.night):
        if time.monotonic() > until:
            return f"the stack is in use by {user}"
        if not told:
            kept.say(f"waiting for {user}, which uses the stack, for {IN_USE_S_MAX / 60:.0f} min at most")
        told = True
        time.sleep(1.0)
    return ""


def _run(kept: NightFolder, entry: Entry) -> None:
    """Its attempts: a second one where the first was INCONCLUSIVE; both are kept."""
    for number in range(len(entry.attempts), TRIES):
        draw = random.Random(f"{kept.night.seed}/{entry.id}/{number}")
        ended = kept.launcher.drill(entry, kept.night, draw.randrange(2**31))
        attempt = _attempt(ended)
        if not attempt.run_id and ended.code == UsageError.exit_code:  # nothing was begun: the machine lacks something
            kept.keep(entry.model_copy(update={"not_run": attempt.reason}))
            kept.say(f"{entry.id}: not run: {attempt.reason}")
            return
        last = number + 1 == TRIES or attempt.status is not Status.INCONCLUSIVE
        attempts = (*entry.attempts, attempt)
        entry = entry.model_copy(update={"attempts": attempts, "status": attempt.status if last else None})
        kept.keep(entry)
        kept.say(f"{entry.id}: {attempt.status.value}: {attempt.reason}{'' if last else '; once more'}")
        if last:
            return


def _attempt(ended: outcome.Outcome) -> Attempt:
    known = ended.status in Status.__members__
    reason = ended.reason if known else f"{ended.status}: {ended.reason}"
    status = Status(ended.status) if known else Status.INCONCLUSIVE
    return Attempt(
        run_id=ended.run, status=status, exit_code=ended.code, reason=reason, duration_s=round(ended.took_s, 1),
        cause=str(ended.cause or ""),
    )  # fmt: skip


def _resolved(runtime: str) -> str:
    """The runtime that «auto» stands for here: nights of two runtimes are no series."""
    if runtime != "auto":
        return runtime
    return "docker" if select.docker_trouble() is None else "process"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
