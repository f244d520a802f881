"""``harness list``: the drills there are, the games, or the defects that can be switched on."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from harness.judge import drill
from harness.model.game import length
from harness.plan import defects, games

ORDER, HELP = 10, "the drills there are"


def add(parser: argparse.ArgumentParser, _: Mapping[str, str]) -> None:
    """What is listed."""
    parser.add_argument("--names", action="store_true", help="names only, one a line")
    parser.add_argument("--games", action="store_true", help="the games for a team instead")
    parser.add_argument("--defects", action="store_true", help="what --defect can switch on, and what it means")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Print it, one a line; 0."""
    if options.defects:
        for name, text in defects.known().items():
            print(name if options.names else f"{name:<30} {text}")
        return 0
    if options.games:
        for name in games.names():
            print(name if options.names else f"{name:<20} {_of_game(name)}")
        return 0
    for name in drill.names():
        print(name if options.names else f"{name:<20} {drill.load(name).title}")
    return 0


def _of_game(name: str) -> str:
    game = games.load(games.find(name))
    return f"{game.title} ({length(game.lasts)})"
