"""The undo journal: what must be taken back, written down as data *before* it is done.

``undo.jsonl`` holds one object per line: ``{"id", "action", "args"}`` when something is about to be injected,
``{"done": id}`` when it was taken back. Each line is fsynced before the injection goes on; when that fails the
injection is refused. Replaying is last-in-first-out and idempotent: every action may be run again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DrillyardError, FaultError


@dataclass(frozen=True)
class Undo:
    """One thing to take back: ``action`` is one of ``harness.faults.base.undo_actions()``."""

    id: str
    action: str
    args: Mapping[str, Any]


class Journal:
    """The journal of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def will_need(self, undo: Undo) -> None:
        """Write down ``undo`` durably. FaultError when that is impossible: then nothing may be injected."""
        self._append({"id": undo.id, "action": undo.action, "args": dict(undo.args)})

    def done(self, undo: Undo) -> None:
        """Mark ``undo`` as taken back."""
        self._append({"done": undo.id})

    def open_entries(self) -> list[Undo]:
        """What has still to be taken back, newest first. A torn last line was never acted on and is left out."""
        if not self.path.exists():
            return []
        entries: dict[str, Undo] = {}
        for line in self.path.read_text().splitlines():
            try:
                data = json.loads(line)
            except json.JSONDecodeError:
                continue
            if "done" in data:
                entries.pop(data["done"], None)
            else:
                entries[data["id"]] = Undo(data["id"], data["action"], data["args"])
        return list(reversed(entries.values()))

    def replay(self, run: Callable[[Undo], None]) -> list[str]:
        """Run every open entry, newest first; returns what could not be taken back, one sentence each."""
        problems = []
        for undo in self.open_entries():
            try:
                run(undo)
            except DrillyardError as error:
                problems.append(f"{undo.id}: {error}")
            else:
                self.done(undo)
        return problems

    def _append(self, data: dict[str, Any]) -> None:
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(data) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise FaultError(
                f"{self.path}: the undo journal cannot be written ({error}); nothing is injected"
            ) from error
