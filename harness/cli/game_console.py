"""``harness game-console``: the facilitator's console in a terminal, beside the one that plays the game."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from harness.adapters import desk
from harness.cli import arguments, game_status
from harness.model.errors import AdapterError, UsageError
from harness.model.game import clock
from harness.plan.options import instance_number
from harness.run.terminal import Console
from reports.pages.game_console import ACTS

ORDER, HELP = 43, "of a game that is played: what the facilitator sees and does; docs/game-day.md"
ORDERS = "confirm, skip, fire, abort, delay SECONDS, note (its text comes from standard input) or stop-all"
EVERY_S = 1.0


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Of which game, and an order."""
    instance = arguments.number(environment, "INSTANCE") or 0
    parser.add_argument("--instance", type=instance_number, default=instance, help="0–255 [INSTANCE]")
    parser.add_argument("--once", action="store_true", help="show it once, instead of until interrupted")
    parser.add_argument("order", nargs="*", metavar="ORDER", help=ORDERS)


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Carry out the order, or show the console."""
    game, console = arguments.game_console(options), Console(highlight=False)
    if options.order:
        print(f"done: {order(game, options.order)}")
    elif options.once or not console.is_terminal:
        console.print(_screen(game))
    else:
        watch(game, console)
    return 0


def order(game: desk.Console, words: Sequence[str]) -> str:
    """Carry out what was typed; what was done. UsageError for what is no order, or not possible now.

    The next inject, or the one that goes on, is meant: a name that is typed is in the list of processes, which players
    see. So are notes, which are read from standard input.
    """
    match list(words):
        case ["stop-all"]:
            game.stop_all()
        case ["note"]:
            game.note(sys.stdin.readline().strip())
        case ["delay", seconds]:
            delayed_s, inject = _seconds(seconds), _inject_to(game, "delay")
            game.delay(inject, delayed_s)
            return f"delay {inject} by {delayed_s:g} s"
        case ["confirm" | "skip" | "fire" | "abort" as act]:
            inject = _inject_to(game, act)
            game.act(inject, act)
            return f"{act} {inject}"
        case _:
            raise UsageError(f"found {' '.join(words)}, expected {ORDERS}")
    return words[0]


def _inject_to(game: desk.Console, act: str) -> str:
    """The first inject in whose state that can be done."""
    try:
        states = [(str(one["id"]), one["state"]) for one in game.view()["injects"]]
    except (KeyError, TypeError) as error:
        raise AdapterError(f"found no game's console in what the desk answered: {error!r}") from error
    for inject, state in states:
        if act in dict(ACTS.get(state, ())):
            return inject
    raise UsageError(f"there is no inject to {act} now: expected one that {'goes on' if act == 'abort' else 'waits'}")


def watch(game: desk.Console, console: Console) -> None:
    """Show it every second, on a screen of its own, until interrupted or until the game is over (AdapterError)."""
    with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        while True:
            live.update(_screen(game), refresh=True)
            time.sleep(EVERY_S)


def _screen(game: desk.Console) -> RenderableType:
    try:
        return Group(*shown(game.view()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AdapterError(f"found no game's console in what the desk answered: {error!r}") from error


def shown(view: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The facilitator's view as lines and tables, injects first."""
    yield Text(f"next: {view['next']}")
    for one in view["injects"]:
        yield from _inject(one)
    yield from game_status.shown(view)
    notes = ((clock(one["clock_s"]), one["text"]) for one in view["notes"])
    yield game_status.table("notes", ("at", "note"), notes)


def _inject(one: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Three lines: a table of all that would be too wide."""
    yield Text(f"{one['id']}: {one['state']}, due {_moment(one['due_s'])}", style="bold")
    yield Text(f"  {one['target']}: {one['variant']}")
    yield Text(
        f"  proven {_word(one['proven'])} · users affected {_moment(one['users_hit'])} · "
        f"mitigated {_moment(one['mitigated_s'])} · stays well {_word(one['stays_well'])}"
    )


def _moment(clock_s: float | None) -> str:
    return "–" if clock_s is None else clock(clock_s)


def _word(known: bool | None) -> str:
    return "–" if known is None else "yes" if known else "no"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise UsageError(f"delay: found {text}, expected seconds")
    return seconds
