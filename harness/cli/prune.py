"""``harness prune``: removes run folders beyond limits, and says which it keeps all the same."""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.evidence.index import Index
from harness.model.errors import RecordError
from harness.plan.options import limit
from harness.recover import watchdog
from harness.recover.leftovers.base import Processes
from harness.run import pipeline, retention
from harness.run.retention import Limits
from harness.run.terminal import Console

ORDER, HELP = 90, "remove run folders beyond a limit"
_MB = 1e6


def add(parser: argparse.ArgumentParser, _: Mapping[str, str]) -> None:
    """The limits; the help tells what no limit removes."""
    parser.description = (
        "Always kept: the newest run, the last good one of each scenario on its machine, engine and runtime, the runs "
        "of the newest night, what may go on, and what has an open undo journal or an incident report; of nights, "
        "loads and comparisons the newest, and the last good night. All else is left alone."
    )
    parser.add_argument("--keep", metavar="N", help="of each scenario on its machine, engine and runtime the newest N")
    parser.add_argument("--days", metavar="N", help="no run that is older")
    parser.add_argument("--dry-run", action="store_true", help="print what would be removed, and remove nothing")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Remove runs of this checkout. UsageError for a limit that is none."""
    keep, days = (
        None if text is None else limit(name, text)
        for name, text in (("--keep", options.keep), ("--days", options.days))
    )
    return prune(pipeline.ROOT / "runs", Limits(keep, days), dry_run=options.dry_run)


def prune(runs: Path, limits: Limits, *, dry_run: bool, console: Console | None = None) -> int:
    """Remove what is beyond ``limits`` in ``runs``, or with ``dry_run`` only say what. 1 if something could not be."""
    console = console or Console(highlight=False)
    watched = Processes.now().by_run(watchdog.__name__)
    with Index.open(runs) as index:
        now = dt.datetime.now(dt.UTC)
        runs_beyond = retention.beyond(index, limits, now, watched)
        unread = len(index.unread)
    found = [_Named(one.run.folder, one.run.run_id, one.why, one.stays) for one in runs_beyond]
    others = [_Named(one.path, one.path.name, one.why, one.stays) for one in retention.others(runs, limits, now)]
    if not dry_run:
        retention.clear(runs)
    failed, sizes = 0, list[int]()
    for one in (*found, *others):
        size, problem = (0, "") if one.stays else _removed(runs, one, dry_run)
        failed += bool(problem)
        sizes += [] if one.stays or problem else [size]
        console.print(_line(one, size, problem, dry_run), markup=False, soft_wrap=True)
    done = "would remove" if dry_run else "removed"
    what = f"{len(sizes)} runs" + (", nights, loads and comparisons" if others else "")
    console.print(f"{done} {what}, {sum(sizes) / _MB:.1f} MB")
    if unread:
        console.print(f"left alone: {unread} entries that are no run or cannot be read; `runs` lists them")
    return 1 if failed else 0


@dataclass(frozen=True)
class _Named:
    """Something beyond the limits, as it is named to people."""

    path: Path
    name: str
    why: str
    stays: str


def _removed(runs: Path, one: _Named, dry_run: bool) -> tuple[int, str]:
    """How many bytes its folder has, and why it could not be removed."""
    size = retention.size_bytes(one.path)
    try:
        if not dry_run:
            retention.remove(runs, one.path)
    except RecordError as error:
        return size, str(error)
    return size, ""


def _line(one: _Named, size: int, problem: str, dry_run: bool) -> str:
    if one.stays:
        return f"kept     {one.name}: {one.why}, but {one.stays}"
    if problem:
        return f"failed   {problem}"
    return f"{'beyond ' if dry_run else 'removed'}  {one.name}: {one.why}, {size / _MB:.1f} MB"
