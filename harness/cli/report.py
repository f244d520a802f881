"""``harness report``: the report of a stored run, rendered again with the verdict that it has; that of a game, too."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.evidence.record import RunFolder
from reports import render, since
from reports.pages import after_action

ORDER, HELP = 60, "render it again"


def add(parser: argparse.ArgumentParser, _: Mapping[str, str]) -> None:
    """Of which run."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, e.g. runs/latest")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Write the report and print its path; 0."""
    folder = RunFolder(options.run.resolve())
    if "game" in folder.plan():
        print(after_action.write(folder))
    else:
        print(render.render(folder, since.last_good(folder)))
    return 0
