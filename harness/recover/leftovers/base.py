"""What a leftover is, and where one is looked for. One file per sort beside this one; each has a ``find``.

``foreign.py`` lists what is not ours, and ``belongs.py`` says whether an undo record is of a stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from harness.evidence.record import RunFolder
from harness.faults.base import FaultContext
from harness.model.errors import DrillyardError, RunFolderError
from harness.recover import heal
from stack import stacks, state
from stack.runtimes import family
from stack.runtimes.base import ComponentState
from stack.runtimes.select import select
from stack.state import StackState


@dataclass(frozen=True)
class Leftover:
    """Something that an earlier run, or a reboot, has left behind: what was found, and what repairs it."""

    instance: int
    kind: str
    what: str
    remedy: str
    repair: Callable[[], None] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Processes:
    """The processes of this machine, listed once: their command lines, and the instance folders they belong to."""

    lines: dict[psutil.Process, list[str]]
    folders: dict[psutil.Process, Path]

    @classmethod
    def now(cls) -> Processes:
        """Those that run at this moment."""
        lines, folders = {}, {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                lines[process] = process.cmdline()
                if folder := process.environ().get(state.FOLDER_VARIABLE):
                    folders[process] = Path(folder)
        return cls(lines, folders)

    def of_run(self, module: str, run: RunFolder) -> list[psutil.Process]:
        """Processes ``python -m MODULE RUNFOLDER``."""
        return self.by_run(module).get(run.path, [])

    def by_run(self, module: str) -> dict[Path, list[psutil.Process]]:
        """Processes ``python -m MODULE RUNFOLDER`` by run folder; not one that has these words elsewhere."""
        found: dict[Path, list[psutil.Process]] = {}
        for process, line in self.lines.items():
            for words in zip(line, line[1:], line[2:], strict=False):
                if words[:2] == ("-m", module):
                    found.setdefault(Path(words[2]), []).append(process)
                    break
        return found


@dataclass(frozen=True)
class Site:
    """One instance of this checkout, as it is examined. ``asking`` is the run that asks: nothing of it is left over."""

    instance: int
    folder: Path
    runs: Path
    processes: Processes
    asking: RunFolder | None = None

    @cached_property
    def stack(self) -> StackState | None:
        """What runs, by the state file. UsageError when that is broken."""
        return state.load(self.folder)

    @property
    def started(self) -> list[psutil.Process]:
        """Processes that were started for this instance's folder."""
        return [process for process, folder in self.processes.folders.items() if folder == self.folder]

    @property
    def lives(self) -> bool:
        """Whether one of them still runs."""
        return any(family.alive(process) for process in self.started)

    @cached_property
    def context(self) -> FaultContext | None:
        """What can be acted on; None where no stack runs. RuntimeUnavailable when its runtime cannot be had."""
        if self.stack is None or self.supervisor_gone:
            return None
        runtime, _ = select(self.stack.runtime, stacks.restored(self.stack.topology))
        return heal.context(runtime)

    @cached_property
    def states(self) -> dict[str, ComponentState]:
        """The components that should run, by name; empty where no stack runs."""
        return {} if self.context is None else {found.name: found for found in self.context.runtime.states()}

    @property
    def supervisor_gone(self) -> bool:
        """Whether the stack was started with a supervisor that runs no more: then nothing keeps or restarts it."""
        stack = self.stack
        if stack is None or stack.runtime == "docker":
            return False
        return stack.supervisor is None or family.marked(stack.supervisor) is None

    def own_runs(self, among: Iterable[Path]) -> Iterator[RunFolder]:
        """Those run folders that are of this instance, by its id: the number is that of many checkouts."""
        identity = state.known_identity(self.folder)
        for path in sorted(set(among)):
            if path.parent != self.runs or path.is_symlink():
                continue
            with suppress(RunFolderError):
                if is_of(RunFolder(path).plan(), self.instance, identity):
                    yield RunFolder(path)

    def dead_runs(self, among: Iterable[Path]) -> Iterator[RunFolder]:
        """Those of ``own_runs`` whose harness is gone, where nobody works: only who asks may hold the lock."""
        return (run for run in self.own_runs(among) if self.asking is None or run.path != self.asking.path)

    def leftover(self, kind: str, what: str, remedy: str, repair: Callable[[], None]) -> Leftover:
        """A leftover of this instance."""
        return Leftover(self.instance, kind, what, remedy, repair)


def is_of(plan: Mapping[str, Any], instance: int, identity: str | None) -> bool:
    """Whether a run was planned for that instance of this checkout, whose id is ``identity``."""
    return identity is not None and (plan.get("instance"), plan.get("instance_id")) == (instance, identity)


Find = Callable[[Site], Iterable[Leftover]]


def cannot(error: DrillyardError) -> Callable[[], None]:
    """The repair of what only a person can repair: it says why."""

    def refuse() -> None:
        raise error

    return refuse
