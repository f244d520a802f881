"""Which run folders may be removed, and their removal: the only place that deletes recorded runs.

Beyond the limits is a run that is not among the newest ``keep`` of its scenario on its machine, engine and runtime, or
that is older than ``days``. Of those stay

- the newest run of all, and the last good one of each scenario on its machine, engine and runtime; one that a
  wrong clock has dated in the future is none;
- the runs of the newest night, whose page leads to them;
- a run in which something was written within the last hour, or whose watchdog lives: it may go on;
- a run whose undo journal is open, or cannot be read: what it injected may still be there, and the doctor needs it.

Whatever is no readable run of ours is left alone, and so is the folder of a night. Links are not followed.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import stat
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from harness.evidence.index import Index, IndexedRun, kind
from harness.model.errors import RecordError, UsageError
from harness.model.journal import Journal
from harness.model.verdict import Status

#: A run writes something every second; what is being judged or rendered does so within minutes.
QUIET = dt.timedelta(hours=1)
#: A folder that is being removed. What a removal that was killed has left of it is removed by the next.
_GOING = ".removing-"


@dataclass(frozen=True)
class Limits:
    """How many runs of a kind are kept, and for how long. UsageError without either."""

    keep: int | None = None
    days: int | None = None

    def __post_init__(self) -> None:
        """Nothing is removed by a limit that nobody has named."""
        if self.keep is None and self.days is None:
            raise UsageError("found no limit, expected --keep N, --days N or both (KEEP=30 DAYS=90 after make)")


@dataclass(frozen=True)
class Beyond:
    """A run beyond the limits: ``why`` it is, and ``stays``, the reason why it is kept all the same, or ""."""

    run: IndexedRun
    why: str
    stays: str = ""


def beyond(index: Index, limits: Limits, now: dt.datetime, watched: Collection[Path]) -> list[Beyond]:
    """The runs beyond the limits, oldest first. ``watched`` are the folders of runs whose watchdog lives."""
    runs = index.runs()
    good: dict[tuple[str, ...], str] = {}
    for run in runs:
        if run.status is Status.PASS and not run.defects and run.started <= now:  # no later run is compared with others
            good[kind(run)] = run.run_id
    night = next((run.night for run in reversed(runs) if run.night), "")
    latest = {(run.folder.parent / "latest").resolve() for run in runs}
    found, seen = [], Counter[tuple[str, ...]]()
    for run in reversed(runs):
        seen[kind(run)] += 1
        if why := _why(run, seen[kind(run)], limits, now):
            reasons = {
                "the newest run": run.run_id == runs[-1].run_id or run.folder.resolve() in latest,
                "the last good run of its scenario": run.run_id == good.get(kind(run)),
                f"a run of the newest night, {night}": bool(night) and run.night == night,
                "its watchdog lives": run.folder in watched or run.folder.resolve() in watched,
            }
            stays = next((reason for reason, holds in reasons.items() if holds), "") or _in_use(run.folder, now)
            found.append(Beyond(run, why, stays))
    return found[::-1]


def _why(run: IndexedRun, number: int, limits: Limits, now: dt.datetime) -> str:
    """``number`` counts the runs of its kind from the newest on, which is 1."""
    if limits.keep is not None and number > limits.keep:
        return f"number {number} of its scenario"
    age = now - run.started
    if limits.days is not None and age > dt.timedelta(days=min(limits.days, dt.timedelta.max.days)):
        return f"{age.days} days old"
    return ""


def _in_use(folder: Path, now: dt.datetime) -> str:
    """Why it may be in use or is still needed to undo something, "" when neither; what cannot be told is kept."""
    try:
        written = max(path.lstat().st_mtime for path in (folder, *folder.iterdir()))
        if now.timestamp() - written < QUIET.total_seconds():
            return "written to within the last hour: it may go on"
        if not stat.S_ISDIR(folder.lstat().st_mode):
            return "a link, which is not followed"
        entries = Journal(folder / "undo.jsonl").open_entries()
    except (OSError, ValueError) as error:
        return f"cannot be examined ({error})"
    return f"its undo journal is open ({entries[0].id}): see `doctor`" if entries else ""


def remove(root: Path, run: IndexedRun) -> None:
    """Delete a run's folder below ``root``. It is out of the list at once. RecordError when it cannot be removed."""
    if run.folder.parent != root or run.folder.is_symlink():
        raise RecordError(f"{run.folder}: no folder of {root}")
    going = root / f"{_GOING}{run.folder.name}"
    try:
        run.folder.rename(going)
        shutil.rmtree(going)
    except OSError as error:
        raise RecordError(f"{run.folder}: cannot be removed: {error.strerror or error}") from error


def clear(root: Path) -> None:
    """Remove what is left of folders whose removal was interrupted."""
    for path in root.glob(f"{_GOING}*"):
        if not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def size_bytes(folder: Path) -> int:
    """What a folder's files take; what cannot be read counts nothing."""
    return sum(
        os.lstat(os.path.join(where, name)).st_size
        for where, _, names in os.walk(folder, followlinks=False)
        for name in names
        if os.path.lexists(os.path.join(where, name))
    )
