"""``harness list``: the drills there are, or the defects that can be switched on."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from harness.judge import drill
from harness.plan import defects

ORDER, HELP = 10, "the drills there are"


def add(parser: argparse.ArgumentParser, _: Mapping[str, str]) -> None:
    """What is listed."""
    parser.add_argument("--names", action="store_true", help="names only, one a line")
    parser.add_argument("--defects", action="store_true", help="what --defect can switch on, and what it means")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Print it, one a line; 0."""
    if options.defects:
        for name, text in defects.known().items():
            print(name if options.names else f"{name:<30} {text}")
        return 0
    for name in drill.names():
        print(name if options.names else f"{name:<20} {drill.load(name).title}")
    return 0
