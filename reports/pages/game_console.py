"""The facilitator's page of a game that is being played: the injects and what can be done with them, and all that
players see.

Made from plain data, the facilitator's view as the desk's API has it (harness/run/board.py ``ConsoleView``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reports import panel
from reports.charts import Chart
from reports.pages import game_players
from reports.pages.game_players import moment

#: State of an inject → what can be done then. ``fire`` begins it now, ``abort`` heals it.
_PENDING = (("confirm", "Confirm"), ("delay", "Delay by 1 min"), ("fire", "Fire now"), ("skip", "Skip"))
_GOES_ON = (("abort", "Abort: heal it now"),)
ACTS: Mapping[str, Sequence[tuple[str, str]]] = {
    "waiting": _PENDING, "due": _PENDING, "running": _GOES_ON, "mitigated": _GOES_ON, "replaying": _GOES_ON,
}  # fmt: skip


def render(view: Mapping[str, Any], pictures: Sequence[Chart], *, still: bool = False) -> str:
    """The page; ``still``: it does not reload itself."""
    return panel.template("game_console.html.j2").render(
        game_players.parts(view, pictures),
        still=still,
        injects=[(inject, _table(inject)) for inject in view["injects"]],
        acts={inject["state"]: ACTS.get(inject["state"], ()) for inject in view["injects"]},
        notes=game_players.messages(view["notes"]),
    )


def _table(inject: Mapping[str, Any]) -> Markup:
    mitigated, well = inject["mitigated_s"], inject["stays_well"]
    return panel.facts(
        [
            ("state", inject["state"]),
            ("due", "–" if inject["due_s"] is None else moment(inject["due_s"])),
            ("target", inject["target"]),
            ("variant", inject["variant"]),
            ("effect proven", _word(inject["proven"])),
            ("users affected", _since(inject["users_hit"])),
            ("mitigated", _since(mitigated)),
            ("stays well", _word(well)),
        ]
    )


def _since(clock_s: float | None) -> str:
    return "not yet" if clock_s is None else f"at {moment(clock_s)}"


def _word(known: bool | None) -> str:
    return "not yet known" if known is None else "yes" if known else "no"
