"""``harness ops COMMAND [COMPONENT [VALUE]]``: what a game's player does to the stack, audited."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from harness.cli import arguments
from harness.model.game import OPS

ORDER, HELP = 38, "in a game: do something to the stack; docs/game-day.md"


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Which command on which component in which game."""
    arguments.add_game(parser, environment)
    parser.add_argument("command", metavar="COMMAND", help=", ".join(OPS))
    component = "a replica or a gateway, as `game-status` shows them"
    parser.add_argument("component", nargs="?", default="", metavar="COMPONENT", help=component)
    value = "of drain and undrain a gateway, else a number: docs/game-day.md"
    parser.add_argument("value", nargs="?", default="", metavar="VALUE", help=value)


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Do it, and print what came of it."""
    print(arguments.game(options).ops(options.who, options.command, options.component, options.value))
    return 0
