"""``harness hint``: a game's player buys the next hint."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from harness.cli import arguments

ORDER, HELP = 41, "in a game: buy the next hint for points; docs/game-day.md"


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """In which game."""
    arguments.add_game(parser, environment)


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Buy it and print it."""
    print(arguments.game(options).hint(options.who))
    return 0
