"""``harness compare``: what really differs between two runs, on the terminal and as a page."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.padding import Padding
from rich.text import Text

from harness.cli import arguments
from harness.cli.runs import opened
from harness.evidence.index import Index
from harness.evidence.record import RunFolder
from harness.judge import compare
from harness.judge.compare import Changed, Comparison
from harness.model.errors import UsageError
from harness.run import pipeline
from harness.run.terminal import Console
from reports import panel
from reports.pages import compare as page

ORDER, HELP = 80, "what really differs between two runs"
#: The newest run, and so many before it.
_LATEST = re.compile(r"latest(?:~([0-9]{1,6}))?")
_NAMED_MAX = 3


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Which two, and where the page goes."""
    parser.add_argument("first", metavar="A", help="a run's id, the begin of it, a folder, latest or latest~1")
    parser.add_argument("second", metavar="B", help="the same; the changes are those from A to B")
    parser.add_argument("--out", type=Path, metavar="FILE", help="of the page [runs/compare-A-B.html]")
    arguments.add_history(parser, environment)


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Compare runs of this checkout and of the other machines."""
    folder = pipeline.ROOT / "runs"
    with opened(folder, options.history) as index:
        return show(index, options.first, options.second, options.out or folder)


def show(index: Index, first: str, second: str, out: Path, console: Console | None = None) -> int:
    """Print what differs and write the page to ``out``, or into it where it is a folder; 0."""
    console = console or Console(highlight=False)
    found = compare.compare(*(compare.side(resolve(index, text)) for text in (first, second)))
    name = f"compare-{found.first.run.run_id}-{found.second.run.run_id}.html"
    path = out / name if out.is_dir() else out
    for line in lines(found):
        console.print(line)
    page.write(found, path)
    console.print(f"page: {path}", markup=False, soft_wrap=True)
    return 0


def resolve(index: Index, text: str) -> Path:
    """The folder of a run: its id, the first characters of it, a folder, ``latest`` or ``latest~1``.

    UsageError where that names no run, or several.
    """
    runs = index.runs()
    if match := _LATEST.fullmatch(text):
        back = int(match[1] or 0)
        if back >= len(runs):
            raise UsageError(f"{text}: found {len(runs)} runs, expected {back + 1} or more (`runs`)")
        return runs[-1 - back].folder
    named = [run for run in runs if run.run_id == text] or [run for run in runs if run.run_id.startswith(text)]
    if len(named) == 1:
        return named[0].folder
    if len(named) > 1:
        some = ", ".join(run.run_id for run in named[:_NAMED_MAX])
        more = f" and {len(named) - _NAMED_MAX} more" if len(named) > _NAMED_MAX else ""
        raise UsageError(f"{text}: found {some}{more}, expected the begin of one run's id")
    if (Path(text) / "plan.json").exists():
        return RunFolder(Path(text).resolve()).path
    raise UsageError(f"{text}: found no such run, expected a run's id, its begin, a run folder, latest or latest~1")


def lines(found: Comparison) -> list[Text | Padding]:
    """What differs, for a terminal: first why the two are not like with like."""
    a, b = found.first.run, found.second.run
    shown: list[Text | Padding] = [Text(f"first  {a.run_id}\nsecond {b.run_id}")]
    if found.apart:
        shown.append(Text(f"not like with like: {'; '.join(found.apart)}", "yellow"))
    if found.same:
        shown.append(Text("nothing differs"))
    shown += _listed(found.statuses)
    for one in found.values[: page.SHOWN_MAX]:
        first, second = (panel.number(value, one.unit) for value in (one.first, one.second))
        shown += _entry(
            f"{one.sli} in {one.phase}: {first} → {second}",
            f"{page.change(one.first, one.second, one.unit)}, interval {page.between(one)}, "
            f"n = {one.samples[0]} and {one.samples[1]} samples",
        )
    shown += _more(len(found.values))
    for text in found.unmeasured:
        shown.append(Text(f"measured in one run only: {text}"))
    shown += _listed(found.configuration)
    if found.values:
        text = "intervals are about which requests were made; what else changes from run to run is not in them"
        shown.append(Text(text, "dim"))
    shown.append(Text(f"within noise: {len(found.within_noise)} values", "dim"))
    if found.once:
        text = f"{len(found.once)} values that a run has only one of have changed, see the page"
        shown.append(Text(text, "dim"))
    return shown


def _listed(changes: Sequence[Changed]) -> list[Text | Padding]:
    first = [line for one in changes[: page.SHOWN_MAX] for line in _entry(_changed(one), one.why)]
    return [*first, *_more(len(changes))]


def _more(count: int) -> list[Text | Padding]:
    return [Text(f"and {count - page.SHOWN_MAX} more, see the page", "dim")] if count > page.SHOWN_MAX else []


def _changed(one: Changed) -> str:
    first, second = (text if text is not None else "not there" for text in (one.first, one.second))
    return f"{one.what}: {first} → {second}"


def _entry(text: str, more: str) -> list[Text | Padding]:
    return [Text(text), *([Padding(Text(more), (0, 0, 0, 4))] if more else [])]
