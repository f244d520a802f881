"""``harness game-console``: the facilitator's console in a terminal, beside the one that plays the game."""

from __future__ import annotations

import argparse
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

ORDER, HELP = 39, "of a game that is played: what the facilitator sees and does; docs/game-day.md"
ORDERS = "confirm ID, skip ID, fire ID, abort ID, delay ID SECONDS, note TEXT or stop-all"
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
        order(game, options.order)
        print(f"done: {' '.join(options.order)}")
    elif options.once or not console.is_terminal:
        console.print(_screen(game))
    else:
        watch(game, console)
    return 0


def order(game: desk.Console, words: Sequence[str]) -> None:
    """Carry out what was typed. UsageError for what is no order."""
    match list(words):
        case ["stop-all"]:
            game.stop_all()
        case ["note", *text] if text:
            game.note(" ".join(text))
        case ["delay", inject, seconds]:
            game.delay(inject, _seconds(seconds))
        case ["confirm" | "skip" | "fire" | "abort" as act, inject]:
            game.act(inject, act)
        case _:
            raise UsageError(f"found {' '.join(words)}, expected {ORDERS}")


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
        return float(text)
    except ValueError:
        raise UsageError(f"delay: found {text}, expected seconds") from None
