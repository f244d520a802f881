"""The undo journal: what must be taken back, written down as data *before* it is done.

``undo.jsonl`` holds one object per line: ``{"id", "action", "args"}`` when something is about to be injected,
``{"done": id}`` when it was taken back. Each line is fsynced before the injection goes on; when that fails the
injection is refused. Replaying is idempotent: every action may be run again. Entries of one target are taken back
last-in-first-out; targets do not wait for each other, since one that hangs must not keep the others broken.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import DrillyardError, FaultError

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

    @property
    def target(self) -> str:
        """What it repairs: a link, a gateway or another component."""
        return str(next((self.args[key] for key in ("proxy", "gateway", "component") if key in self.args), self.id))


class Journal:
    """The journal of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def will_need(self, undo: Undo) -> None:
        """Write down ``undo`` durably. FaultError when that is impossible: then nothing may be injected."""
        self._append({"id": undo.id, "action": undo.action, "args": dict(undo.args)}, "nothing is injected")

    def done(self, undo: Undo) -> None:
        """Mark ``undo`` as rolled back. FaultError when that is impossible: then it will be rolled back once more."""
        self._append({"done": undo.id}, f"{undo.id} was rolled back, and will be once more")

    def open_entries(self) -> list[Undo]:
        """What has still to be taken back, newest first. An id that was written down again counts as written last.

        A torn line was never acted on and is left out, and so is any other line that is no record.
        """
        if not self.path.exists():
            return []
        entries: dict[str, Undo] = {}
        for line in self.path.read_bytes().splitlines():
            match _record(line):
                case {"done": str(id)}:
                    entries.pop(id, None)
                case {"id": str(id), "action": str(action), "args": dict(args)}:
                    entries.pop(id, None)
                    entries[id] = Undo(id, action, args)
        return list(reversed(entries.values()))

    def replay(self, run: Callable[[Undo], None], within_s: float = ROUND_S) -> list[str]:
        """Run every open entry, all targets at once; returns what could not be taken back, one sentence each.

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
        late = "{}: not taken back within {:g} s"
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

    def _append(self, data: dict[str, Any], otherwise: str) -> None:
        try:
            with self.path.open("a+b") as file:
                if file.seek(0, os.SEEK_END) and not _ends_line(file):
                    file.write(b"\n")  # a torn line must not swallow this one
                file.write(json.dumps(data).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise FaultError(f"{self.path}: the undo journal cannot be written ({error}); {otherwise}") from error


def _record(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _ends_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
