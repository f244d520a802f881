"""``harness ops COMMAND COMPONENT [VALUE]``: what a game's player does to the stack, audited."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from harness.cli import arguments
from harness.model.game import OPS

ORDER, HELP = 37, "in a game: do something to the stack; docs/game-day.md"


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Which command on which component in which game."""
    arguments.add_game(parser, environment)
    parser.add_argument("command", metavar="COMMAND", help=", ".join(OPS))
    parser.add_argument("component", metavar="COMPONENT", help="a replica or a gateway, as `game-status` shows them")
    parser.add_argument("value", nargs="?", default="", metavar="VALUE", help="of weight, scale and cap")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Do it, and print what came of it."""
    print(arguments.game(options).ops(options.who, options.command, options.component, options.value))
    return 0
