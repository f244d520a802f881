"""The players' page of a game that is being played: what an on-call has, and forms to say and do something.

Made from plain data, the players' view as the desk's API has it (``PlayersView`` of harness/run/board.py), and charts.
It works without JavaScript, and reloads itself then. Nothing of the injects is in what it is made from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from harness.model.game import OPS, SAYS, clock
from reports import charts, panel
from reports.charts import Chart

View = Mapping[str, Any]
#: Rows that are shown at once, the newest; older ones are folded below.
ROWS_MAX = 30
_STYLES = ("report.css", "timeline.css", "game.css", "desk.css")
#: A diagnosis is chosen, not said.
_SAYS = tuple(one for one in SAYS if one != "diagnosed")
_KEPT = {True: ("pass", "kept"), False: ("fail", "not kept"), None: ("skipped", "not measured")}


def render(view: View, pictures: Sequence[Chart], *, still: bool = False) -> str:
    """The page; ``still``: it does not reload itself."""
    components = [one["name"] for one in view["components"]]
    return panel.template("game_players.html.j2").render(
        parts(view, pictures), still=still, says=_SAYS, commands=OPS, targets=components
    )


def refused(sentence: str) -> str:
    """The page that says why something was not done."""
    return panel.template("game_refused.html.j2").render(sentence=sentence, style=style())


def style() -> Markup:
    """The style sheet of a game's pages."""
    return Markup("".join((panel.TEMPLATES / name).read_text(encoding="utf-8") for name in _STYLES))


def parts(view: View, pictures: Sequence[Chart]) -> dict[str, object]:
    """What players and facilitators see alike, by the names in the templates."""
    end_s = max(float(view["clock_s"]), 1.0)
    return {
        "view": view,
        "style": style(),
        "time": f"{moment(view['clock_s'])} of {clock(view['lasts_s'])}",
        "slos": panel.table(("objective", "limit", "now", "state"), map(_slo, view["slos"])),
        "alerts": panel.table(("alert", "severity", "labels", "since"), map(_alert, view["alerts"])),
        "charts": Markup("").join(charts.draw(one, (), end_s) for one in pictures),
        "components": panel.table(("component", "role", "state", "used by"), map(_component, view["components"])),
        "channel": messages(view["channel"]),
        "ops": newest(("at", "who", "command", "outcome"), map(_done, view["ops"])),
        "hints": panel.table(("hint", "price"), map(_hint, view["hints_taken"])),
    }


def messages(found: Iterable[View]) -> Markup:
    """Messages, the newest first."""
    return newest(("at", "who", "what", "message"), map(_message, found))


def newest(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """A table from the newest row to the oldest, which comes first in ``rows``."""
    return panel.shortened(head, list(rows)[::-1], ROWS_MAX, " before that")


def moment(clock_s: float) -> str:
    """A moment by the game's clock; what was before its start has none."""
    return clock(clock_s) if clock_s >= 0 else "before the game"


def _slo(slo: View) -> tuple[object, ...]:
    now = None if slo["value"] is None else panel.number(float(slo["value"]), slo["unit"])
    css, word = _KEPT[slo["kept"]]
    return slo["name"], slo["objective"], now, Markup('<span class="badge {}">{}</span>').format(css, word)


def _alert(alert: View) -> tuple[object, ...]:
    labels = ", ".join(f"{name}={value}" for name, value in alert["labels"].items())
    return alert["name"], alert["severity"], labels, moment(alert["since_s"])


def _component(component: View) -> tuple[object, ...]:
    used = (f"{gateway}: {use_of(use)}" for gateway, use in component["used_by"].items())
    return component["name"], component["role"], component["state"], "; ".join(used)


def use_of(use: View) -> str:
    """How a gateway uses a replica, in words: ``ready, weight 100 %, healthy``."""
    health = {True: ", healthy", False: ", fails its health check", None: ""}[use["healthy"]]
    return f"{use['state']}, weight {use['weight']} %{health}"


def _message(one: View) -> tuple[object, ...]:
    return moment(one["clock_s"]), one["who"], one["kind"], one["text"]


def _done(one: View) -> tuple[object, ...]:
    return moment(one["clock_s"]), one["who"], one["command"], one["outcome"]


def _hint(one: View) -> tuple[object, ...]:
    return one["text"], f"{one['price']} points"
