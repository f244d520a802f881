"""``harness prune``: removes run folders beyond limits, and says which it keeps all the same."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from harness.evidence.index import Index
from harness.model.errors import RecordError
from harness.recover import watchdog
from harness.recover.leftovers.base import Processes
from harness.run import retention
from harness.run.retention import Beyond, Limits
from harness.run.terminal import Console

_MB = 1e6


def prune(runs: Path, limits: Limits, *, dry_run: bool, console: Console | None = None) -> int:
    """Remove what is beyond ``limits`` in ``runs``, or with ``dry_run`` only say what. 1 if something could not be."""
    console = console or Console(highlight=False)
    watched = Processes.now().by_run(watchdog.__name__)
    with Index.open(runs) as index:
        found = retention.beyond(index, limits, dt.datetime.now(dt.UTC), watched)
        unread = len(index.unread)
    if not dry_run:
        retention.clear(runs)
    failed, sizes = 0, list[int]()
    for one in found:
        size, problem = (0, "") if one.stays else _removed(runs, one, dry_run)
        failed += bool(problem)
        sizes += [] if one.stays or problem else [size]
        console.print(_line(one, size, problem, dry_run), markup=False, soft_wrap=True)
    done = "would remove" if dry_run else "removed"
    console.print(f"{done} {len(sizes)} runs, {sum(sizes) / _MB:.1f} MB")
    if unread:
        console.print(f"left alone: {unread} entries that are no run or cannot be read; `runs` lists them")
    return 1 if failed else 0


def _removed(runs: Path, one: Beyond, dry_run: bool) -> tuple[int, str]:
    """How many bytes its folder has, and why it could not be removed."""
    size = retention.size_bytes(one.run.folder)
    try:
        if not dry_run:
            retention.remove(runs, one.run)
    except RecordError as error:
        return size, str(error)
    return size, ""


def _line(one: Beyond, size: int, problem: str, dry_run: bool) -> str:
    if one.stays:
        return f"kept     {one.run.run_id}: {one.why}, but {one.stays}"
    if problem:
        return f"failed   {problem}"
    return f"{'beyond ' if dry_run else 'removed'}  {one.run.run_id}: {one.why}, {size / _MB:.1f} MB"
