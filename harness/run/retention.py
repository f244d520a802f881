"""Which run folders may be removed, and their removal: the only place that deletes recorded runs.

Beyond the limits is a run that is not among the newest ``keep`` of its scenario on its machine, engine and runtime, or
that is older than ``days``. Of those stay

- the newest run of all, and the last good one of each scenario on its machine, engine and runtime; one that a
  wrong clock has dated in the future is none;
- the runs of the newest night, whose page leads to them;
- a run in which something was written within the last hour, or whose watchdog lives: it may go on;
- a run whose undo journal is open, or cannot be read: what it injected may still be there, and the doctor needs it;
- a run with the report of an incident, since people write in it.

The same limits hold for nights (of each suite on its machine), load without a drill, and pages that compare two runs.
Of those stay the newest of each kind, the last good night, and what was written to within the last hour.

All else in the folder is left alone, incident reports from a server's history among it. Links are not followed.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import stat
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.evidence.index import Index, IndexedRun, kind
from harness.evidence.record import LOAD, RunFolder
from harness.model import night as nights
from harness.model.errors import RecordError, RunFolderError, UsageError
from harness.model.journal import Journal
from harness.model.verdict import Status
from reports.incident.folder import MARKDOWN

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
        if why := _why(run.started, seen[kind(run)], limits, now):
            reasons = {
                "the newest run": run.run_id == runs[-1].run_id or run.folder.resolve() in latest,
                "the last good run of its scenario": run.run_id == good.get(kind(run)),
                f"a run of the newest night, {night}": bool(night) and run.night == night,
                f"people may have written in its {MARKDOWN}": (run.folder / MARKDOWN).exists(),
                "its watchdog lives": run.folder in watched or run.folder.resolve() in watched,
            }
            stays = next((reason for reason, holds in reasons.items() if holds), "") or _in_use(run.folder, now)
            found.append(Beyond(run, why, stays))
    return found[::-1]


@dataclass(frozen=True)
class Other:
    """A night, load without a drill, or a comparison beyond the limits, with the same two reasons."""

    path: Path
    why: str
    stays: str = ""


def others(root: Path, limits: Limits, now: dt.datetime) -> list[Other]:
    """What is beyond the limits in ``root`` and is no run."""
    found = list[Other]()
    for kept in _others(root).values():
        newest_first = sorted(kept, key=lambda one: (one.began, one.path.name), reverse=True)
        good = next((one for one in newest_first if one.good), None)
        for number, one in enumerate(newest_first, start=1):
            if why := _why(one.began, number, limits, now, "of its kind"):
                stays = "the newest of its kind" if number == 1 else "the last good night" if one is good else ""
                found.append(Other(one.path, why, stays or _lately(one.path, now)))
    return sorted(found, key=lambda one: one.path.name)


@dataclass(frozen=True)
class _Kept:
    path: Path
    began: dt.datetime
    good: bool = False


def _others(root: Path) -> dict[tuple[str, ...], list[_Kept]]:
    """By what is compared with what. What cannot be read as ours is not in it."""
    found: dict[tuple[str, ...], list[_Kept]] = {}
    for folder in nights.folders(root):
        with suppress(RunFolderError):
            night = nights.read(folder)
            one = _Kept(folder, night.started, night.ended is not None and night.status is Status.PASS)
            found.setdefault(("night", night.suite, night.machine), []).append(one)
    for folder in root.glob("load-*"):
        with suppress(RunFolderError, OSError):
            if not folder.is_symlink() and RunFolder(folder).plan()["drill"] == LOAD:
                found.setdefault(("load",), []).append(_Kept(folder, _written(folder / "plan.json")))
    for page in root.glob("compare-*.html"):
        if page.is_file() and not page.is_symlink():
            found.setdefault(("compare",), []).append(_Kept(page, _written(page)))
    return found


def _written(path: Path) -> dt.datetime:
    return dt.datetime.fromtimestamp(path.lstat().st_mtime, dt.UTC)


def _lately(path: Path, now: dt.datetime) -> str:
    """Why it may go on; "" where it does not."""
    inside = path.iterdir() if path.is_dir() else ()
    if now - max(_written(one) for one in (path, *inside)) < QUIET:
        return "written to within the last hour: it may go on"
    return ""


def _why(started: dt.datetime, number: int, limits: Limits, now: dt.datetime, of: str = "of its scenario") -> str:
    """``number`` counts those of its kind from the newest on, which is 1."""
    if limits.keep is not None and number > limits.keep:
        return f"number {number} {of}"
    age = now - started
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


def remove(root: Path, path: Path) -> None:
    """Delete a folder or page below ``root``. It is out of the list at once. RecordError when it cannot be removed."""
    if path.parent != root or path.is_symlink():
        raise RecordError(f"{path}: no folder of {root}")
    going = root / f"{_GOING}{path.name}"
    try:
        if path.is_file():
            path.unlink()
            return
        path.rename(going)
        shutil.rmtree(going)
    except OSError as error:
        raise RecordError(f"{path}: cannot be removed: {error.strerror or error}") from error


def clear(root: Path) -> None:
    """Remove what is left of folders whose removal was interrupted."""
    for path in root.glob(f"{_GOING}*"):
        if not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def size_bytes(folder: Path) -> int:
    """What a folder's files take, or a page alone; what cannot be read counts nothing."""
    if folder.is_file():
        return folder.lstat().st_size
    return sum(
        os.lstat(os.path.join(where, name)).st_size
        for where, _, names in os.walk(folder, followlinks=False)
        for name in names
        if os.path.lexists(os.path.join(where, name))
    )
