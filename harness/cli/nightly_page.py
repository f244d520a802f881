"""``harness nightly-page``: the page of the newest night, made again from what lies in the folders of runs."""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.evidence.index import Index
from harness.model import night
from harness.model.errors import RunFolderError, UsageError
from harness.model.night import Night
from reports.pages import nightly
from reports.pages.nightly import History

ORDER, HELP = 40, "make the page of the newest night again"


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Of which folders. Those that are typed replace that of the environment."""
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs"), metavar="RUNS", help="[runs]")
    others = "runs of other machines, kept apart on the page; may be given several times [HISTORY]"
    parser.add_argument("--history", type=Path, action="append", metavar="DIR", help=others)
    said = environment.get("HISTORY")
    parser.set_defaults(history_said=[Path(said)] if said else [])


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Make the page."""
    return nightly_page(options.runs, options.history or options.history_said)


def nightly_page(runs: Path, others: Sequence[Path]) -> int:
    """Write ``index.html`` of the newest night in ``runs`` and print its path; 0.

    ``others`` are folders of runs from other machines. UsageError where a folder does not exist, or ``runs`` has no
    night.
    """
    for folder in (runs, *others):
        if not folder.is_dir():
            raise UsageError(f"found no folder {folder}, expected one that runs were written to, such as runs")
    found = night.folders(runs)
    if not found:
        raise UsageError(f"found no night in {runs}, expected a folder such as nightly-2026-11-28; `make nightly`")
    print(nightly.write(history(runs, others), found[-1], command(runs, others)))
    return 0


def command(runs: Path, others: Sequence[Path]) -> list[str]:
    """What makes the page again."""
    words = [".venv/bin/python", "-m", "harness", "nightly-page", str(runs)]
    return words + [word for other in others for word in ("--history", str(other))]


def history(runs: Path, others: Sequence[Path] = ()) -> History:
    """Everything that these folders hold: nights, runs, series, and what could not be read, with the reason."""
    nights, problems = [], []
    for folder in (path for root in (runs, *others) for path in night.folders(root)):
        try:
            nights.append(night.read(folder))
        except RunFolderError as error:
            problems.append(str(error))
    with Index.open(runs) as index:
        for other in others:
            index.merge(other)
        problems += [f"{one.path}: {one.reason}" for one in index.unread]
        return History(_once(nights), index.runs(), index.series(), problems)


def _once(nights: Sequence[Night]) -> list[Night]:
    """Each night once, as the first folder has it: another machine's folder may hold a copy from before its end.

    Two checkouts on machines of one kind give their nights of a day the same name: these began at different times.
    """
    found = dict[tuple[str, str, dt.datetime], Night]()
    for one in nights:
        found.setdefault((one.machine, one.run_id, one.started), one)
    return list(found.values())
