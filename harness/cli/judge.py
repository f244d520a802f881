"""``harness judge``: the verdict and the report of a stored run, made again from its records."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.evidence.record import RunFolder
from harness.judge import drill
from harness.run import pipeline
from reports import render

ORDER, HELP = 50, "judge a stored run again"


def add(parser: argparse.ArgumentParser, _: Mapping[str, str]) -> None:
    """Which run."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, e.g. runs/latest")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Write verdict and report; the exit code of the verdict."""
    folder = RunFolder(options.run.resolve())
    found = render.judged(folder, drill.load(folder.plan()["drill"]))
    pipeline.print_last_lines(folder, found)
    return found.status.exit_code
