"""``harness diagnose COMPONENT MECHANISM SINCE``: what a game's player takes to be wrong."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from harness.cli import arguments
from harness.model.errors import UsageError

ORDER, HELP = 39, "in a game: say what is wrong, where and since when; docs/game-day.md"


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Which answer in which game."""
    arguments.add_game(parser, environment)
    parser.add_argument("component", metavar="COMPONENT", help="as `game-status` lists them")
    mechanism = "one that `game-status` lists, or words of it that no other has"
    parser.add_argument("mechanism", metavar="MECHANISM", help=mechanism)
    parser.add_argument("since", metavar="SINCE", help="by the game's clock: 6:30, or seconds")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Send it. Whether it is right is not told before the end."""
    game = arguments.game(options)
    mechanism = meant(options.mechanism, game.mechanisms())
    game.diagnose(options.who, options.component, mechanism, options.since)
    print(f"diagnosed: {options.component}: {mechanism}, since {options.since}")
    return 0


def meant(words: str, choices: Sequence[str]) -> str:
    """The one of the choices that these words are, or are in. UsageError for none, and for several."""
    found = [one for one in choices if one == words] or [one for one in choices if words.lower() in one.lower()]
    if len(found) != 1:
        several = f"{len(found)} mechanisms have" if found else "no mechanism has"
        raise UsageError(f"{several} {words!r} in it: expected words of one of: {'; '.join(found or choices)}")
    return found[0]
