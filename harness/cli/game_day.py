"""``harness game-day NAME``: a game's dry run, and its pages to print. Nothing plays a game yet."""

from __future__ import annotations

import argparse
import random
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.cli import arguments
from harness.model.errors import UsageError
from harness.model.game import Game
from harness.model.topology import Topology
from harness.plan import game_dryrun, games, guard, runtime
from harness.plan.game_dryrun import Answers
from reports.pages import game_pack

ORDER, HELP = 35, "prepare a game day for a team: its dry run, its pages to print; docs/game-day.md"


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Which game, for which stack, and what of it."""
    arguments.add_stack(parser, environment)
    parser.add_argument("game", metavar="NAME", help="of scenarios/games/, or a file; `list --games` has all of them")
    parser.add_argument("--dry-run", action="store_true", help="print the master event list and touch nothing")
    parser.add_argument("--seed", type=int, help="repeat the draw of an earlier dry run")
    answers = "with --dry-run: what was drawn, too; for facilitators only"
    parser.add_argument("--show-answers", action="store_true", help=answers)
    salt = "with --show-answers: that of an earlier dry run, to check its seal"
    parser.add_argument("--salt", metavar="TEXT", help=salt)
    packs = "write the facilitator pack and the player brief there, as HTML to print"
    parser.add_argument("--packs", type=Path, metavar="DIR", help=packs)


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Print or write what was asked for; 0."""
    if not (options.dry_run or options.packs):
        raise UsageError(
            "a game cannot be played yet: expected --dry-run, which prints its events, or --packs DIR, which writes "
            "its pages to print"
        )
    if not options.dry_run and (options.show_answers or options.seed is not None):
        raise UsageError("--seed and --show-answers are about the draw of a dry run: expected --dry-run with them")
    if options.salt is not None and not options.show_answers:
        raise UsageError("--salt is of the seal that --show-answers prints: expected --show-answers with it")
    topology = runtime.admitted(arguments.stack(options), guard.unresolved)
    game = games.load(games.find(options.game), topology)
    if options.dry_run:
        print(game_dryrun.text(game, topology, _answers(options, game, topology) if options.show_answers else None))
    if options.packs:
        for path in game_pack.write(game, options.packs):
            print(path)
    return 0


def _answers(options: argparse.Namespace, game: Game, topology: Topology) -> Answers:
    seed = random.SystemRandom().randrange(2**31) if options.seed is None else options.seed
    return Answers(games.drawn(game, topology, seed), options.salt or secrets.token_hex(16))
