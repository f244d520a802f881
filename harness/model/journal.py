"""The undo journal: what must be rolled back, written down as data *before* it is done.

``undo.jsonl`` holds one object per line: ``{"id", "action", "args", "phase"}`` when something is about to be injected,
``{"done": id}`` when it was rolled back. Each line is fsynced before the injection goes on; when that fails the
injection is refused. Replaying is idempotent: every action may be run again. Entries of one target are rolled back
last-in-first-out; targets do not wait for each other, since one that hangs must not keep the others broken.

Who injects or heals keeps the entries in memory and the file open as well: a file that is deleted, moved or cannot be
read any more keeps no fault from being rolled back.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.model.errors import DrillyardError, FaultError

#: Begin of the ids under which switches of the simulator are rolled back: they are no faults of a scenario.
SWITCHES = "defects"
#: A round of replaying waits so long for the slowest target. Actions are bounded; this is for one that is not.
ROUND_S = 10.0
#: More targets than any stack has.
SIDE_BY_SIDE = 64


@dataclass(frozen=True)
class Undo:
    """One thing to take back: ``action`` is one of ``harness.faults.base.undo_actions()``."""

    id: str
    action: str
    args: Mapping[str, Any]
    phase: str = ""  # of what is rolled back; a journal of before does not say

    @property
    def target(self) -> str:
        """What it repairs: a link, a gateway or another component."""
        return str(next((self.args[key] for key in ("proxy", "gateway", "component") if key in self.args), self.id))


#: Hands a line of the journal on, returning when the other one has it. FaultError when it has not.
Tell = Callable[[Mapping[str, Any]], None]


class Journal:
    """The journal of one run. ``tell`` is called with every line, after it was written."""

    def __init__(self, path: Path, tell: Tell = lambda line: None) -> None:
        self.path, self._tell = path, tell
        self._known: dict[str, Undo] = {}  # open entries, newest last
        self._descriptor: int | None = None
        self._writing = threading.Lock()

    def will_need(self, undo: Undo) -> None:
        """Write down ``undo`` durably, and tell. FaultError when that is impossible: then nothing may be injected."""
        line = {"id": undo.id, "action": undo.action, "args": dict(undo.args), "phase": undo.phase}
        self._append(line, "nothing is injected", in_place=True)
        self._remember(undo)
        self._tell(line)

    def done(self, undo: Undo) -> None:
        """Mark ``undo`` as rolled back. FaultError when that is impossible: then it will be rolled back once more."""
        self._known.pop(undo.id, None)
        self._tell({"done": undo.id})
        self._append({"done": undo.id}, f"{undo.id} was rolled back, and will be once more", in_place=False)

    def hear(self, line: Mapping[str, Any]) -> None:
        """Take a line that another process has written to the same journal, as its ``tell`` gives it."""
        match line:
            case {"done": str(id)}:
                self._known.pop(id, None)
            case {"id": str(id), "action": str(action), "args": dict(args)}:
                self._remember(Undo(id, action, args, str(line.get("phase", ""))))
                with suppress(OSError):
                    self._open()

    def open_entries(self) -> list[Undo]:
        """What has still to be rolled back, newest first. An id that was written down again counts as written last.

        Those in memory and those in the file, whatever has become of either. A torn line was never acted on and is
        left out, and so is any other line that is no record.
        """
        entries: dict[str, Undo] = {}
        for line in self._read().splitlines():
            record = _record(line)
            match record:
                case {"done": str(id)}:
                    entries.pop(id, None)
                case {"id": str(id), "action": str(action), "args": dict(args)}:
                    entries.pop(id, None)
                    entries[id] = Undo(id, action, args, str(record.get("phase", "")))
        known = dict(self._known)
        older = [undo for id, undo in entries.items() if id not in known]
        return list(reversed([*older, *known.values()]))

    def replay(self, run: Callable[[Undo], None], within_s: float = ROUND_S) -> list[str]:
        """Run every open entry, all targets at once; returns what could not be rolled back, one sentence each.

        Whatever one entry stumbles over, the others are run.
        """
        targets: dict[str, list[Undo]] = {}
        for undo in self.open_entries():
            targets.setdefault(undo.target, []).append(undo)
        if not targets:
            return []
        pool = ThreadPoolExecutor(min(len(targets), SIDE_BY_SIDE))
        tasks = {pool.submit(self._replay_target, entries, run): target for target, entries in targets.items()}
        done, _ = wait(tasks, timeout=within_s)
        pool.shutdown(wait=False)
        late = "{}: not rolled back within {:g} s"
        found = (task.result() if task in done else [late.format(target, within_s)] for task, target in tasks.items())
        return [problem for problems in found for problem in problems]

    def _replay_target(self, entries: list[Undo], run: Callable[[Undo], None]) -> list[str]:
        problems = []
        for undo in entries:
            try:
                run(undo)
            except DrillyardError as error:
                problems.append(f"{undo.id}: {error}")
            except Exception as error:  # a defect, or a record that was damaged
                problems.append(f"{undo.id}: {type(error).__name__}: {error}")
            else:
                with suppress(FaultError):  # it is rolled back all the same; the next replay repeats it
                    self.done(undo)
        return problems

    def _remember(self, undo: Undo) -> None:
        self._known.pop(undo.id, None)
        self._known[undo.id] = undo

    def _read(self) -> bytes:
        try:
            if self._descriptor is None:
                return _read_file(self.path)
            return os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        except FileNotFoundError:
            return b""
        except OSError:
            if not self._known:
                raise
            return b""

    def _append(self, data: dict[str, Any], otherwise: str, *, in_place: bool) -> None:
        """``in_place``: only where the doctor would look for it."""
        line = json.dumps(data).encode() + b"\n"
        try:
            with self._writing:
                file = self._open()
                if in_place and not os.path.samestat(os.fstat(file), self.path.stat()):
                    raise OSError(errno.ESTALE, "it was replaced by another file")
                if not _ends_line(file):
                    line = b"\n" + line  # a torn line must not swallow this one
                while line:
                    line = line[os.write(file, line) :]
                os.fsync(file)
        except OSError as error:
            raise FaultError(f"{self.path}: the undo journal cannot be written ({error}); {otherwise}") from error

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            weakref.finalize(self, os.close, self._descriptor)
        return self._descriptor


def _read_file(path: Path) -> bytes:
    """What is in a journal. OSError also for what is no file: reading a pipe that somebody has put there never ends."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        return file.read()


def _record(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _ends_line(file: int) -> bool:
    size = os.fstat(file).st_size
    return size == 0 or os.pread(file, 1, size - 1) == b"\n"
