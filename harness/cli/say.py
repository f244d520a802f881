"""``harness say KIND TEXT``: a message of a game's player."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from harness.cli import arguments

ORDER, HELP = 37, "in a game: tell the team and the facilitator what you have found or done; docs/game-day.md"


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Which message of which game."""
    arguments.add_game(parser, environment)
    parser.add_argument("kind", metavar="KIND", help="found, acknowledged, status or fixed")
    parser.add_argument("text", nargs="*", metavar="TEXT")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Send it."""
    arguments.game(options).say(options.who, options.kind, " ".join(options.text))
    print(f"said: {options.kind}")
    return 0
