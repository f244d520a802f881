"""``harness game-team TEAM``: a program plays a game through the players' interface, as an AI agent would."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from harness.cli import arguments
from harness.run import teams
from harness.run.teams.seat import Seat

ORDER, HELP = 42, "in a game: a program plays, as an example of an agent; docs/game-day.md"


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Which team in which game."""
    arguments.add_game(parser, environment)
    known = "; ".join(f"{name} {team.SUMMARY}" for name, team in teams.teams().items())
    parser.add_argument("team", metavar="TEAM", help=known)


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Play until the game is over."""
    team = teams.find(options.team)
    team.play(Seat(arguments.game(options), options.who, lambda words: print(words, flush=True)))
    return 0
