"""``harness game-day NAME``: plays a game; its dry run, and its pages to print."""

from __future__ import annotations

import argparse
import os
import random
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.cli import arguments
from harness.evidence.record import RunFolder
from harness.judge import drill
from harness.judge.games.score import InjectScore, Score
from harness.model import redact
from harness.model.errors import Interrupted, StackError, UsageError
from harness.model.game import POINTS, Game
from harness.model.topology import Topology
from harness.plan import game_dryrun, games, guard, runtime
from harness.plan.game_dryrun import Answers
from harness.recover import lock
from harness.run import game as live
from harness.run import teams
from harness.run.desk import server
from harness.run.progress import Progress
from harness.run.scripted import Scripted
from reports.pages import after_action, game_pack
from stack import state

ORDER, HELP = 35, "a game day for a team: play it; its dry run, its pages to print; docs/game-day.md"
#: Faster, and an inject follows the one before without a minute of rest.
SPEED_MAX = 100.0
IN_PS = "the seed is in the list of processes, and gives the answers away: play without one, or with --seed -"

#: ``--seed -``: it comes from standard input. ``--scripted``: the team, if none is named.
TYPED, WELL = "-", "well"


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Which game, for which stack, and what of it."""
    arguments.add_stack(parser, environment)
    parser.add_argument("game", metavar="NAME", help="of scenarios/games/, or a file; `list --games` has all of them")
    parser.add_argument("--dry-run", action="store_true", help="print the master event list and touch nothing")
    seed = "repeat the draw of an earlier dry run or game; -: it is typed then, and no list of processes has it"
    parser.add_argument("--seed", type=_seed, metavar="N", help=seed)
    answers = "with --dry-run: what was drawn, too; for facilitators only"
    parser.add_argument("--show-answers", action="store_true", help=answers)
    salt = "with --show-answers: that of an earlier dry run, to check its seal"
    parser.add_argument("--salt", metavar="TEXT", help=salt)
    packs = "write the facilitator pack and the player brief there, as HTML to print"
    parser.add_argument("--packs", type=Path, metavar="DIR", help=packs)
    speed = "of the waits between injects; an inject lasts as long as ever [1]"
    parser.add_argument("--speed", type=float, default=1.0, metavar="N", help=speed)
    parser.add_argument("--confirm", action="store_true", help="each inject waits for whoever runs the game")
    known = "; ".join(f"{name} {team.SUMMARY}" for name, team in teams.teams().items())
    scripted = f"a program plays, through the players' interface alone [{WELL}]: {known}"
    parser.add_argument("--scripted", nargs="?", const=WELL, metavar="TEAM", help=scripted)


def do(options: argparse.Namespace, given: Sequence[str]) -> int:
    """Play it, or print or write what was asked for; the exit code."""
    prepares = bool(options.dry_run or options.packs)
    if prepares and (options.speed != 1.0 or options.confirm or options.scripted):
        raise UsageError(
            "--speed, --confirm and --scripted are for a game that is played: expected neither --dry-run nor --packs"
        )
    if options.scripted:
        teams.find(options.scripted)
        if options.confirm:
            raise UsageError("--confirm waits for whoever runs the game, and with --scripted nobody does: expected one")
    if options.show_answers and not options.dry_run:
        raise UsageError("--show-answers is of a dry run: expected --dry-run with it")
    if options.packs and not options.dry_run and options.seed is not None:
        raise UsageError("--seed is about the draw, which no page has: expected --dry-run with it")
    if options.salt is not None and not options.show_answers:
        raise UsageError("--salt is of the seal that --show-answers prints: expected --show-answers with it")
    if not 1.0 <= options.speed <= SPEED_MAX:
        raise UsageError(f"--speed: found {options.speed:g}, expected a number from 1 to {SPEED_MAX:g}")
    return _prepare(options) if prepares else _play(options)


def _prepare(options: argparse.Namespace) -> int:
    """The dry run, the pages; nothing is touched."""
    topology = runtime.admitted(arguments.stack(options), guard.unresolved)
    game = games.load(games.find(options.game), topology)
    if options.dry_run:
        print(game_dryrun.text(game, topology, _answers(options, game, topology) if options.show_answers else None))
    if options.packs:
        for path in game_pack.write(game, options.packs):
            print(path)
    return 0


def _play(options: argparse.Namespace) -> int:
    """The whole game, on the stack that was asked for, which nobody else may use meanwhile."""
    stack, progress = arguments.stack(options), Progress()
    chosen, _ = runtime.chosen(stack)
    game = games.load(games.find(options.game), chosen.topology)
    live.require_able(game, chosen)
    chosen.preflight()
    if stack.external.api_key_env:  # what is started from here on learns from it which secret to redact
        os.environ[redact.KEY_VARIABLE] = stack.external.api_key_env
    if options.seed is not None and options.seed != TYPED:
        progress.say(IN_PS)
    answers = _answers(options, game, chosen.topology)
    where = state.instance_folder(chosen.topology) / lock.RUN
    with lock.held(where, f"the game {game.name}", progress.say) as held:
        order = live.Order(
            game, answers.sealed, answers.salt, chosen, held, progress, f"harness game-day {game.name}",
            options.speed, options.confirm, _desk(options, chosen.topology, progress),
        )  # fmt: skip
        folder, found = live.play(order, drill.ROOT / "runs")
    for line in [*_lines(found), f"records: {folder.path}"]:
        print(line)
    print(f"after-action report: {after_action.write(folder)}")  # last: where it cannot be written, all else is told
    return _exit_code(folder)


def _desk(options: argparse.Namespace, topology: Topology, progress: Progress) -> live.Desk:
    """The game's pages, and a team that plays beside them if one was asked for."""
    place = _place(topology, progress)
    if not options.scripted:
        return place.opened
    return Scripted(options.scripted, place.opened, place.folder, progress.say).beside


def _place(topology: Topology, progress: Progress) -> server.Place:
    """Where the game's pages are. A target outside has no charts of ours."""
    prometheus = next((one.url() for one in topology.components if one.name == "prometheus"), "")
    return server.Place(topology.instance, state.instance_folder(topology), progress.say, prometheus=prometheus)


def _lines(score: Score) -> Iterator[str]:
    """The score in words."""
    for one in score.injects:
        yield f"{one.inject}: {_points(one)}"
    yield f"score: {'none' if score.points is None else f'{score.points:.0f} of {POINTS}'}"


def _points(one: InjectScore) -> str:
    if one.points is None:
        return f"not scored: {one.unscored or 'nothing was measured'}"
    parts = ", ".join(
        f"{part.name.replace('_', ' ')} {'not measured' if part.points is None else f'{part.points:.0f}/{part.of}'}"
        for part in one.parts
    )
    return f"{one.points:.0f} of {POINTS} ({parts}; hints -{one.hints})"


def _exit_code(folder: RunFolder) -> int:
    """0 for a game that was played, or ended by whoever ran it; else as of a run that ended early."""
    events = folder.events()
    if any(event.kind == "interrupted" for event in events):
        return Interrupted.exit_code
    aborted = [event for event in events if event.kind in ("aborted", "stop_condition")]
    if any(event.data.get("usage") for event in aborted):
        return UsageError.exit_code
    return StackError.exit_code if aborted else 0


def _answers(options: argparse.Namespace, game: Game, topology: Topology) -> Answers:
    seed = _typed() if options.seed == TYPED else options.seed
    seed = random.SystemRandom().randrange(2**31) if seed is None else seed
    return Answers(games.drawn(game, topology, seed), options.salt or secrets.token_hex(16))


def _seed(text: str) -> int | str:
    """As it was typed: a whole number, or ``TYPED``. argparse.ArgumentTypeError for anything else."""
    try:
        return TYPED if text == TYPED else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number, or {TYPED}") from None


def _typed() -> int:
    """The seed, from standard input. UsageError for what is no whole number."""
    text = sys.stdin.readline(100).strip()
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--seed -: found {text!r} on standard input, expected a whole number") from None
