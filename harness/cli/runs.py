"""``harness runs``: the runs of this checkout and of other machines, newest last; as a table or as JSON."""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.padding import Padding
from rich.text import Text

from harness.cli import arguments
from harness.evidence.index import Index, IndexedRun, Unread
from harness.model.errors import UsageError
from harness.model.verdict import Status
from harness.run import pipeline
from harness.run.terminal import Console

ORDER, HELP = 70, "the runs there are, newest last; all filters together"
#: In ``--verdict``: runs that were not judged.
NO_VERDICT = "none"
VERDICTS = (*(status.value for status in Status if status is not Status.SKIPPED), NO_VERDICT)
_AGO = {"d": "days", "h": "hours", "m": "minutes"}
_COLOURS = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "no verdict": "yellow"}
_COLUMNS: dict[str, Callable[[IndexedRun], str]] = {
    "run": lambda run: run.run_id,
    "verdict": lambda run: run.status.value if run.judged else "no verdict",
    "took": lambda run: f"{run.duration_s:.0f} s",
    "commit": lambda run: f"{run.commit[:8] or '?'}{'-dirty' if run.dirty else ''}",
    "on": lambda run: f"{run.engine} {run.runtime}",
    "machine": lambda run: f"{run.machine} ({run.machine_name})",
}
#: Columns that are left out where all runs have the same.
_TOLD_ONCE = ("on", "machine")


@dataclass(frozen=True)
class Wanted:
    """Which runs to list: all that is given has to match. ``of`` are the filters of ``Index.runs``."""

    verdict: str | None = None
    of: dict[str, Any] = field(default_factory=dict)

    def found(self, index: Index) -> list[IndexedRun]:
        """The runs that match, newest last."""
        status = None if self.verdict in (None, NO_VERDICT) else Status(self.verdict)
        runs = index.runs(status=status, **self.of)
        return [run for run in runs if self.verdict != NO_VERDICT or not run.judged]


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """The filters, and how it is shown."""
    add = parser.add_argument
    add("--drill", metavar="NAME", help="a drill, or one of its scenarios")
    add("--verdict", metavar=f"{{{','.join(VERDICTS)}}}", help="none: those that were not judged")
    add("--since", metavar="WHEN", help="2026-11-20, or a time ago: 7d, 12h")
    add("--commit", metavar="COMMIT", help="the first characters of it")
    add("--machine", metavar="MACHINE", help="the first characters of its key, or a part of its name")
    add("--night", metavar="NIGHT", help="the suite's run that started them")
    add("--json", action="store_true", help="as data")
    arguments.add_history(parser, environment)


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Show the runs of this checkout and of the other machines that match."""
    of = {name: getattr(options, name) for name in ("drill", "commit", "machine", "night") if getattr(options, name)}
    if options.since:
        of["since"] = since(options.since, dt.datetime.now(dt.UTC))
    wanted = Wanted(verdict(options.verdict) if options.verdict else None, of)
    return show(pipeline.ROOT / "runs", wanted, options.history, as_json=options.json)


def verdict(text: str) -> str:
    """A verdict as it is typed. UsageError for none."""
    found = next((one for one in VERDICTS if one.lower() == text.lower()), None)
    if found is None:
        raise UsageError(f"--verdict {text}: expected one of {', '.join(VERDICTS)}")
    return found


def since(text: str, now: dt.datetime) -> dt.datetime:
    """``2026-11-20``, a date with a time, or so long before ``now``: ``7d``, ``12h``. UTC unless it says another."""
    if match := re.fullmatch(r"([0-9]{1,6})([dhm])", text):
        try:
            return now - dt.timedelta(**{_AGO[match[2]]: int(match[1])})
        except OverflowError:  # before any calendar
            return dt.datetime.min.replace(tzinfo=dt.UTC)
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since {text}: expected a date such as 2026-11-20, or a time ago such as 7d or 12h"
        ) from None
    return found.replace(tzinfo=found.tzinfo or dt.UTC)


def opened(runs: Path, history: Path | None) -> Index:
    """The index of ``runs``, with that of another folder. UsageError where that is none."""
    index = Index.open(runs)
    if history is not None:
        if not history.is_dir():
            index.close()
            raise UsageError(f"--history {history}: found no folder, expected one that holds run folders")
        index.merge(history)
    return index


def show(runs: Path, wanted: Wanted, history: Path | None, *, as_json: bool, console: Console | None = None) -> int:
    """Print the runs that match, and what could not be read; 0."""
    console = console or Console(highlight=False)
    with opened(runs, history) as index:
        found, unread = wanted.found(index), index.unread
    if as_json:
        data = {"runs": [_as_data(run) for run in found], "unread": [_strange(one) for one in unread]}
        console.print(json.dumps(data, indent=2), markup=False, soft_wrap=True)
        return 0
    if found:
        _print(console, found)
    else:
        console.print("no run matches" if wanted != Wanted() else "there are no runs yet")
    if unread:
        console.print(f"\nnot in the table: {len(unread)} entries that are no run, or cannot be read")
    for one in unread:
        console.print(f"  {_shown(one.path)}: {one.reason}", markup=False, soft_wrap=True)
    return 0


def _as_data(run: IndexedRun) -> dict[str, Any]:
    data = {**dataclasses.asdict(run), "folder": _shown(run.folder), "started": run.started.isoformat()}
    return {**data, "status": run.status.value if run.judged else None}


def _strange(one: Unread) -> dict[str, str]:
    return {"path": _shown(one.path), "reason": one.reason}


def _shown(path: Path) -> str:
    """A path as text, whatever bytes its name has."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _print(console: Console, found: list[IndexedRun]) -> None:
    """One line each, its reason below it. What is the same for all is told once, so that 80 columns are enough."""
    same, shown = list[str](), dict[str, int]()
    for heading, of in _COLUMNS.items():
        values = [of(run) for run in found]
        if heading in _TOLD_ONCE and len(set(values)) == 1:
            same.append(f"{heading} {values[0]}")
        else:
            shown[heading] = max(len(heading), *map(len, values))
    head = "  ".join(heading.ljust(width) for heading, width in shown.items())
    console.print(Text(head, "bold"), no_wrap=True)
    for run in found:
        line = Text("  ").join(_cell(run, heading, width) for heading, width in shown.items())
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ellipsis")
        if why := _why(run):
            console.print(Padding(Text(why), (0, 0, 0, 4)))
    if same:
        console.print(f"all: {', '.join(same)}", markup=False, soft_wrap=True)


def _cell(run: IndexedRun, heading: str, width: int) -> Text:
    text = _COLUMNS[heading](run)
    return Text(text.ljust(width), _COLOURS.get(text, "") if heading == "verdict" else "")


def _why(run: IndexedRun) -> str:
    """What the id does not say: a variant of the drill, defects on purpose, the night; and the reason of no PASS."""
    parts = [
        run.scenario if run.scenario != run.drill else "",
        "with defects" if run.defects else "",
        f"of {run.night}" if run.night else "",
        run.reason if run.status is not Status.PASS else "",
    ]
    return "; ".join(filter(None, parts))
