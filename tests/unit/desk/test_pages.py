"""What the pages of a game show while it is played: to players nothing of the injects, and nobody's text as markup."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from starlette.routing import Route

from harness.run.board import ConsoleView, PlayersView
from harness.run.desk import data, orders, players, server
from harness.run.desk.auth import Side
from reports.charts import Chart, Series
from reports.pages import game_console, game_players
from tests.unit.desk.boards import CANARY, DUE_S, HIT_S, HOST, MITIGATED_S, SECRETS, TOKENS, Client, FakeBoard, a_view
from tests.unit.nights.test_nightly_page import HOSTILE, Tags

#: A body for each of the players' orders.
BODIES: dict[str, dict[str, str]] = {
    "/api/say": {"who": "Ada", "kind": "status", "text": "slow"},
    "/api/ops": {"who": "Ada", "command": "drain", "component": "replica-1"},
    "/api/diagnose": {"who": "Ada", "component": "replica-1", "mechanism": "DNS lies", "since": "1:30"},
    "/api/hint": {"who": "Ada"},
}
#: The body of each form's order.
ORDERS: dict[str, type[orders.Order]] = {
    "/api/say": orders.Say,
    "/api/ops": orders.Ops,
    "/api/diagnose": orders.Diagnose,
    "/api/hint": orders.Hint,
    "/api/note": orders.Note,
    "/api/stop-all": orders.Nothing,
    "confirm": orders.Nothing,
    "skip": orders.Nothing,
    "fire": orders.Nothing,
    "abort": orders.Nothing,
    "delay": orders.Delay,
}


def routes() -> Iterator[tuple[str, str]]:
    """Method and path of every route of the players' application."""
    for route in players.app(FakeBoard(), server.no_charts).routes:
        assert isinstance(route, Route)
        for method in sorted(route.methods or ()):
            yield method, route.path


def forms(page: str) -> dict[str, set[str]]:
    """Action of each form → the names of its fields. Each is a POST, and has a button."""
    found: dict[str, set[str]] = {}
    buttons: dict[str, int] = {}
    action = ""
    for tag, attributes in Tags(page).found:
        if tag == "form":
            action = str(attributes["action"])
            assert (attributes["method"], action not in found) == ("post", True)
            found[action], buttons[action] = set(), 0
        elif tag in ("input", "select", "textarea") and "name" in attributes:
            found[action].add(str(attributes["name"]))
        elif tag == "button":
            buttons[action] += 1
    assert set(buttons.values()) == {1}
    return found


def rendered(side: Side, view: ConsoleView, **more: Any) -> str:
    """The page of one side."""
    if side == "players":
        return game_players.render(data.of_players(view), (), **more)
    return game_console.render(data.of_console(view), (), **more)


def test_the_walk_below_meets_every_order() -> None:
    """A new route of the players needs a body here."""
    assert {path for method, path in routes() if method == "POST"} == set(BODIES)


@pytest.mark.parametrize(("method", "path"), [*routes(), ("GET", "/?still"), ("GET", "/nowhere"), ("PUT", "/api/say")])
def test_no_route_of_the_players_tells_of_an_inject(method: str, path: str) -> None:
    """Although the board of this test hands over everything. JSON and forms, well and badly filled in."""
    client = Client(FakeBoard())
    told = [client.ask(method, path)]
    if method == "POST":
        headers = {"Cookie": f"drillyard_players={TOKENS.players}", "Origin": f"http://{HOST}"}
        told += [client.post(path, json=BODIES[path]), client.post(path, json={"inject": "x"})]
        told += [Client(FakeBoard(), token=None, headers=headers).post(path, data=BODIES[path])]
    for answer in told:
        everything = answer.text + str(answer.headers)
        assert not [secret for secret in SECRETS if secret in everything]


def test_the_console_tells_of_them() -> None:
    """The same board: the words of the test above are there to be found."""
    client = Client(FakeBoard(), "facilitator")
    page, said = client.get("/").text, client.get("/api/console").json()
    assert said["injects"][0] == {
        "id": CANARY, "title": CANARY, "state": "due", "due_s": DUE_S, "target": CANARY, "variant": CANARY,
        "proven": True, "users_hit": HIT_S, "mitigated_s": MITIGATED_S, "stays_well": None,
    }  # fmt: skip
    assert (said["next"], said["notes"][0]["text"]) == (CANARY, CANARY)
    for words in (CANARY, "1646:05", "1460:54", "1275:43"):
        assert words in page


def test_players_get_their_own_fields() -> None:
    """All of the players' view and nothing else; what was not measured is null, and no number that JSON lacks."""
    said = Client(FakeBoard()).get("/api/status").json()
    assert set(said) == set(PlayersView.__dataclass_fields__)
    assert said["slos"][1]["value"] is None
    assert said["components"][0]["used_by"] == {"gateway-a": {"state": "ready", "weight": 100, "healthy": True}}
    board = FakeBoard(a_view(clock_s=float("nan")))
    assert Client(board).get("/api/status").json()["clock_s"] is None


@pytest.mark.parametrize("side", ["players", "facilitator"])
@pytest.mark.parametrize("hostile", [HOSTILE, "</style><script>x</script>", "{{ 7 * 7 }}", "\u202e\x1b[31m'\"&"])
def test_what_people_say_is_text(side: Side, hostile: str) -> None:
    """Names, messages, labels, states, figures: no element and no attribute comes of them, in JSON they stay whole."""
    view = a_view(hostile)
    found = Tags(rendered(side, view)).found
    calm = Tags(rendered(side, a_view())).found
    assert [tag for tag, _ in found] == [tag for tag, _ in calm]
    assert not [attributes for _, attributes in found if "onerror" in attributes]
    assert "49" not in re.sub(r"<style>.*?</style>", "", rendered(side, a_view("{{ 7 * 7 }}")), flags=re.DOTALL)
    path = "/api/status" if side == "players" else "/api/console"
    answer = Client(FakeBoard(view), side).get(path)
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.text)["channel"][0] == {"clock_s": 110.0, "who": hostile, "kind": "found", "text": hostile}


@pytest.mark.parametrize("side", ["players", "facilitator"])
def test_the_pages_need_no_javascript(side: Side) -> None:
    """They reload by themselves unless somebody writes; the only script is our own file, and no attribute is code."""
    for still in (False, True):
        page = rendered(side, a_view(), still=still)
        found = Tags(page).found
        scripts = [attributes for tag, attributes in found if tag == "script"]
        assert scripts == [{"src": "/live.js", "defer": None}]
        assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
        assert ("http-equiv" in page) is not still
        live = [attributes["id"] for _, attributes in found if "data-live" in attributes]
        assert len(live) == len(set(live)) >= 7


@pytest.mark.parametrize("side", ["players", "facilitator"])
def test_each_form_sends_what_its_order_takes(side: Side) -> None:
    """Every field that an order has, and none that it refuses."""
    found = forms(rendered(side, a_view()))
    if side == "players":
        assert set(found) == set(BODIES)
    for action, names in found.items():
        kind = ORDERS.get(action) or ORDERS[action.rpartition("/")[2]]
        assert names == set(kind.model_fields)


def test_what_can_be_done_with_an_inject_depends_on_its_state() -> None:
    """One that waits is confirmed, delayed, fired or skipped; one that goes on is aborted; one that is over is over."""
    first, second = a_view().injects
    over = second.__class__(**{**vars(second), "id": "over", "state": "over"})
    strange = second.__class__(**{**vars(second), "id": "strange", "state": "a state of tomorrow"})
    page = rendered("facilitator", a_view(injects=(first, second, over, strange)))
    acts = sorted(action.removeprefix("/api/injects/") for action in forms(page) if "injects" in action)
    assert acts == [f"{CANARY}-2/abort", *(f"{CANARY}/{act}" for act in ("confirm", "delay", "fire", "skip"))]


def test_what_is_not_measured_is_said() -> None:
    """Neither a zero nor «kept»."""
    page = rendered("players", a_view())
    row = re.search(r"<td>ttft</td>.*?</tr>", page)
    assert row is not None
    assert row[0].count("not measured") == 2
    assert '<span class="badge pass">kept</span>' in page


def test_charts_are_drawn() -> None:
    """Those that the game passes, over the time of the game; without any there is no section."""
    pictures = [
        Chart("errors", "Errors", "%", [Series("all", np.array([0.0, 60.0, 120.0]), np.array([0.0, 5.0, 1.0]))])
    ]
    page = game_players.render(data.of_players(a_view()), pictures)
    assert 'id="series-errors-0"' in page
    assert 'id="charts"' not in rendered("players", a_view())


def test_long_lists_are_folded() -> None:
    """A long game has hundreds of messages: the newest are shown, the others below them."""
    view = a_view()
    many = tuple(view.channel[0].__class__(float(n), "Ada", "status", f"message-{n}.") for n in range(200))
    page = rendered("players", a_view(channel=many))
    assert (
        page.index("message-199.") < page.index("message-170.") < page.index("and 170 more") < page.index("message-0.")
    )
