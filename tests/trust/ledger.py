"""Runs that were made for a long count, one JSON line each, so that the count goes on where it was interrupted.

A run counts for the commit, the machine, the group and the round that it was made in. Lines of other commits and
machines stay: they are the evidence of earlier counts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.plan import capacity_store
from harness.run.outcome import Outcome
from tests.drills.outcome import CHECKOUT


@dataclass(frozen=True)
class Series:
    """What runs have to have in common to be counted together."""

    commit: str
    machine: str


@dataclass(frozen=True)
class Slot:
    """One planned run: a drill in a round of a group."""

    group: str
    drill: str
    round: int


@dataclass(frozen=True)
class Entry:
    """One run that was made. ``interference`` is what the run's own samples say, for people."""

    series: Series
    slot: Slot
    outcome: Outcome
    interference: str
    when: str  # UTC, ISO 8601


class Ledger:
    """The entries of a file; a torn last line (the machine died) is a run that was not made."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, entry: Entry) -> None:
        """Append it, and have it on the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size > 0
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" * torn + json.dumps(dataclasses.asdict(entry), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def of(self, series: Series) -> dict[Slot, Entry]:
        """The entries of that series by their slot; the first of a slot counts: what is red is not made again."""
        found: dict[Slot, Entry] = {}
        for entry in self._entries():
            if entry.series == series:
                found.setdefault(entry.slot, entry)
        return found

    def _entries(self) -> Iterator[Entry]:
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []:
            try:
                data = json.loads(line)
                parts = Series(**data.pop("series")), Slot(**data.pop("slot")), Outcome(**data.pop("outcome"))
                yield Entry(*parts, **data)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue


def commit() -> str:
    """HEAD, twelve digits; with a digest of what differs from it, so that edits are never counted with it."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=CHECKOUT, capture_output=True, text=True, timeout=30, check=True
        ).stdout

    changed = git("status", "--porcelain") + git("diff", "HEAD")
    digest = f"+{hashlib.sha256(changed.encode()).hexdigest()[:8]}" if changed else ""
    return git("rev-parse", "HEAD").strip()[:12] + digest


def machine() -> str:
    """This machine, for people, and as the key by which its capacity is kept: its digest tells of flags as well."""
    found = capacity_store.machine("process", "vllm")
    return f"{found} ({found.key})"
