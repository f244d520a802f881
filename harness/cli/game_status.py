"""``harness game-status``: what the players of a game see on their page, as tables or as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from harness.cli import arguments
from harness.model import redact
from harness.model.errors import AdapterError
from harness.model.game import clock
from harness.run.terminal import Console
from reports.pages.game_players import use_of

ORDER, HELP = 36, "in a game: objectives, alerts, components and messages; docs/game-day.md"
_MESSAGES_SHOWN = 12
_KEPT = {True: "kept", False: "not kept", None: "not measured"}


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Of which game, and how it is shown."""
    arguments.add_game(parser, environment)
    parser.add_argument("--json", action="store_true", help="as data, as GET /api/status has it")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Show it."""
    view, console = arguments.game(options).status(), Console(highlight=False)
    if options.json:
        console.print(json.dumps(view, indent=2, ensure_ascii=False), markup=False, soft_wrap=True)
        return 0
    try:
        parts = list(shown(view))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AdapterError(f"found no status of a game in what the desk answered: {error!r}") from error
    for part in parts:
        console.print(part)
    return 0


def shown(view: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The players' view as lines and tables; what people have written is text in them, never markup."""
    yield Text(f"{view['title']} · {clock(view['clock_s'])} of {clock(view['lasts_s'])}")
    yield Text(str(view["load"]))
    yield table("objectives", ("objective", "limit", "now", ""), map(_slo, view["slos"]))
    yield table("alerts", ("alert", "severity", "labels", "since"), map(_alert, view["alerts"]))
    yield table("components", ("component", "state", "used by"), map(_component, view["components"]))
    channel = view["channel"][-_MESSAGES_SHOWN:]
    said = ((clock(one["clock_s"]), one["who"], one["kind"], one["text"]) for one in channel)
    yield table("channel", ("at", "who", "kind", "message"), said)
    done = view["ops"][-_MESSAGES_SHOWN:]
    orders = ((clock(one["clock_s"]), one["who"], one["command"], one["outcome"]) for one in done)
    yield table("commands", ("at", "who", "command", "outcome"), orders)
    yield table(
        "mechanisms that a diagnosis is chosen from", ("",), ((one,) for one in view["diagnosis"]["mechanisms"])
    )
    if view["hints_taken"]:
        yield table("hints", ("hint", "price"), ((one["text"], one["price"]) for one in view["hints_taken"]))


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> RenderableType:
    """A table of text: what people have written is never markup, nor what a terminal obeys."""
    made = Table(title=title, title_justify="left")
    for heading in head:
        made.add_column(heading)
    for row in rows:
        made.add_row(*(Text(redact.printable(str(value))) for value in row))  # its width is that of what is shown
    return made if made.row_count else Text(f"{title}: none")


def _slo(slo: Mapping[str, Any]) -> tuple[object, ...]:
    now = "not measured" if slo["value"] is None else f"{slo['value']:.4g} {slo['unit']}"
    return slo["name"], slo["objective"], now, _KEPT[slo["kept"]]


def _alert(alert: Mapping[str, Any]) -> tuple[object, ...]:
    labels = ", ".join(f"{name}={value}" for name, value in alert["labels"].items())
    return alert["name"], alert["severity"], labels, clock(alert["since_s"])


def _component(one: Mapping[str, Any]) -> tuple[object, ...]:
    used = (f"{gateway}: {use_of(use)}" for gateway, use in one["used_by"].items())
    return one["name"], one["state"], "; ".join(used)
