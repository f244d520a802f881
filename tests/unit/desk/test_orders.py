"""What is sent to the desk of a game: taken whole and strictly, carried out once, refused in a sentence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from harness.model.errors import AdapterError, FaultError, UsageError
from harness.run.desk import orders
from harness.run.desk.auth import Side
from harness.run.desk.orders import BODY_BYTES_MAX
from tests.unit.desk.boards import CANARY, HOST, TOKENS, Client, FakeBoard

DIAGNOSIS = {"who": "Ada", "component": "replica-1", "mechanism": "a replica hangs"}
#: Side, path, body, and what the board is told.
OBEYED: tuple[tuple[Side, str, dict[str, Any], tuple[object, ...]], ...] = (
    ("players", "/api/say", {"who": " Ada ", "kind": "status", "text": "slow"}, ("say", "Ada", "status", "slow")),
    ("players", "/api/say", {"who": "Ada", "kind": "fixed"}, ("say", "Ada", "fixed", "")),
    (
        "players",
        "/api/ops",
        {"who": "Ada", "command": "weight", "component": "replica-1", "value": "50"},
        ("ops", "Ada", "weight", "replica-1", "50"),
    ),
    (
        "players",
        "/api/ops",
        {"who": "Ada", "command": "restart", "component": "replica-1"},
        ("ops", "Ada", "restart", "replica-1", ""),
    ),
    ("players", "/api/ops", {"who": "Ada", "command": "rollback"}, ("ops", "Ada", "rollback", "", "")),
    ("players", "/api/diagnose", {**DIAGNOSIS, "since": 90}, ("diagnose", *DIAGNOSIS.values(), 90.0)),
    ("players", "/api/diagnose", {**DIAGNOSIS, "since": "1:30"}, ("diagnose", *DIAGNOSIS.values(), 90.0)),
    ("players", "/api/diagnose", {**DIAGNOSIS, "since": " 90.5 "}, ("diagnose", *DIAGNOSIS.values(), 90.5)),
    ("players", "/api/hint", {"who": "Ada"}, ("hint", "Ada")),
    ("facilitator", "/api/injects/deaf/confirm", {}, ("confirm", "deaf")),
    ("facilitator", "/api/injects/deaf/skip", {}, ("skip", "deaf")),
    ("facilitator", "/api/injects/deaf/fire", {}, ("fire", "deaf")),
    ("facilitator", "/api/injects/deaf/abort", {}, ("abort", "deaf")),
    ("facilitator", "/api/injects/deaf/delay", {"seconds": 60}, ("delay", "deaf", 60.0)),
    ("facilitator", "/api/stop-all", {}, ("stop_all",)),
    ("facilitator", "/api/note", {"text": "a note"}, ("note", "a note")),
)
#: Side, path, body, and the beginning of the sentence.
REFUSED: tuple[tuple[Side, str, object, str], ...] = (
    ("players", "/api/say", {"who": "Ada", "kind": "hello"}, "kind: "),
    ("players", "/api/say", {"who": "Ada", "kind": "diagnosed"}, "kind: "),
    ("players", "/api/say", {"kind": "found"}, "who: "),
    ("players", "/api/say", {"who": "  ", "kind": "found"}, "who: "),
    ("players", "/api/say", {"who": 7, "kind": "found"}, "who: "),
    ("players", "/api/say", {"who": "Ada", "kind": "found", "inject": "x"}, "inject: "),
    ("players", "/api/say", {"who": "Ada", "kind": "found", "text": "x" * 2001}, "text: "),
    ("players", "/api/say", [1], ""),
    ("players", "/api/ops", {"who": "Ada", "command": "cap", "component": "x", "value": 5}, "value: "),
    ("players", "/api/diagnose", {**DIAGNOSIS, "since": -1}, "since: "),
    ("players", "/api/diagnose", {**DIAGNOSIS, "since": "1:75"}, "since: "),
    ("players", "/api/diagnose", {**DIAGNOSIS, "since": True}, "since: "),
    ("players", "/api/diagnose", {**DIAGNOSIS, "since": "nan"}, "since: "),
    ("players", "/api/hint", {}, "who: "),
    ("facilitator", "/api/injects/deaf/confirm", {"really": True}, "really: "),
    ("facilitator", "/api/injects/deaf/delay", {"seconds": 0}, "seconds: "),
    ("facilitator", "/api/injects/deaf/delay", {"seconds": "60"}, "seconds: "),
    ("facilitator", "/api/note", {"text": ""}, "text: "),
)
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://{HOST}"}
COOKIE = {"Cookie": f"drillyard_players={TOKENS.players}"}
JSON = {"Content-Type": "application/json"}


def form(board: FakeBoard, path: str, content: bytes) -> httpx.Response:
    """Send a form, as the players' page does."""
    return Client(board, token=None, headers={**COOKIE, **FORM}).post(path, content=content)


@pytest.mark.parametrize(("side", "path", "body", "told"), OBEYED)
def test_an_order_reaches_the_board_once(side: Side, path: str, body: dict[str, Any], told: tuple[object, ...]) -> None:
    """As it was meant: blanks around a name are none, a moment is seconds."""
    board = FakeBoard()
    answer = Client(board, side).post(path, json=body)
    assert (answer.status_code, answer.json()["ok"]) == (200, True)
    assert board.done == [told]


def test_what_came_of_it_is_answered() -> None:
    """The outcome of a command, and the text of a hint; whether a diagnosis is right is not."""
    client = Client(FakeBoard())
    done = client.post("/api/ops", json={"who": "Ada", "command": "drain", "component": "replica-1"})
    assert done.json() == {"ok": True, "outcome": "replica-1: drain done"}
    assert client.post("/api/hint", json={"who": "Ada"}).json() == {"ok": True, "hint": "compare the replicas"}
    assert client.post("/api/diagnose", json={**DIAGNOSIS, "since": 1}).json() == {"ok": True}


@pytest.mark.parametrize(("side", "path", "body", "begins"), REFUSED)
def test_another_body_is_refused_in_a_sentence(side: Side, path: str, body: object, begins: str) -> None:
    """The field and what is wrong with it; the board hears nothing."""
    board = FakeBoard()
    answer = Client(board, side).post(path, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(begins)
    assert "\n" not in answer.json()["error"]
    assert not board.done


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"who": "\\ud800", "kind": "found"}',
        b'{"who": "Ada", "kind": "found"} x',
        b"[" * 60_000,
        b'{"who": "Ada", "component": "c", "mechanism": "m", "since": NaN}',
    ],
)
@pytest.mark.parametrize("path", ["/api/say", "/api/diagnose"])
def test_what_is_no_json_is_refused(path: str, content: bytes) -> None:
    """Broken, nested beyond measure, not a number."""
    board = FakeBoard()
    answer = Client(board, headers=JSON).post(path, content=content)
    assert (answer.status_code, board.done) == (400, [])
    assert answer.json()["error"]


def test_a_body_has_a_type() -> None:
    """What a foreign page may send without being asked is no order."""
    board = FakeBoard()
    content = json.dumps({"who": "Ada", "kind": "found"}).encode()
    for kind in ("text/plain", "multipart/form-data; boundary=x", ""):
        assert Client(board, headers={"Content-Type": kind}).post("/api/say", content=content).status_code == 415
    assert not board.done


def test_a_body_is_bounded() -> None:
    """More than 64 KiB is not read, and nothing is done."""
    board = FakeBoard()
    for headers in (JSON, FORM):
        answer = Client(board, headers=headers).post("/api/say", content=b" " * (BODY_BYTES_MAX + 1))
        assert answer.status_code == 413
    assert not board.done


def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends half of it holds no place for long."""
    monkeypatch.setattr(orders, "BODY_WITHIN_S", 0.05)

    async def half() -> AsyncIterator[bytes]:
        yield b'{"who": '
        await asyncio.Event().wait()

    board = FakeBoard()
    answer = Client(board, headers=JSON).post("/api/say", content=half())
    assert (answer.status_code, board.done) == (408, [])


def test_a_form_does_the_same_and_leads_back() -> None:
    """The pages need no JavaScript; an empty field is none."""
    board = FakeBoard()
    answer = form(board, "/api/say", b"who=Ad%C3%A9&kind=status&text=all+is+well")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert form(board, "/api/ops", b"who=Ada&command=drain&component=replica-1&value=").status_code == 303
    diagnosis = b"who=Ada&component=replica-1&mechanism=a+replica+hangs&since=12%3A30"
    assert form(board, "/api/diagnose", diagnosis).status_code == 303
    assert board.done == [
        ("say", "Adé", "status", "all is well"),
        ("ops", "Ada", "drain", "replica-1", ""),
        ("diagnose", "Ada", "replica-1", "a replica hangs", 750.0),
    ]


def test_the_consoles_buttons_are_forms() -> None:
    """Those without a field, and the one with a number."""
    board = FakeBoard()
    headers = {"Cookie": f"drillyard_facilitator={TOKENS.facilitator}", **FORM}
    console = Client(board, "facilitator", None, headers)
    assert console.post("/api/injects/deaf/confirm").status_code == 303
    assert console.post("/api/injects/deaf/delay", content=b"seconds=60").status_code == 303
    assert board.done == [("confirm", "deaf"), ("delay", "deaf", 60.0)]


@pytest.mark.parametrize("content", [b"who=a&who=b&kind=found", b"who=%ff&kind=found", b"who=\xff", b"a=1&" * 40])
def test_a_form_that_is_none_is_refused(content: bytes) -> None:
    """A field that comes twice, what is no UTF-8, and more fields than any form has."""
    board = FakeBoard()
    answer = form(board, "/api/say", content)
    assert (answer.status_code, board.done) == (400, [])
    assert answer.headers["content-type"].startswith("text/html")


def test_what_is_not_possible_is_said() -> None:
    """The board's sentence, as it is in JSON and as text on a page."""
    board = FakeBoard(error=UsageError("no component 'x<b>': did you mean 'replica-1'?"))
    order = {"who": "Ada", "command": "drain", "component": "x<b>"}
    answer = Client(board).post("/api/ops", json=order)
    assert (answer.status_code, answer.json()) == (400, {"error": str(board.error)})
    page = form(board, "/api/ops", b"who=Ada&command=drain&component=x%3Cb%3E")
    assert page.status_code == 400
    assert "x&lt;b&gt;" in page.text
    assert "<b>" not in page.text


@pytest.mark.parametrize(
    ("error", "status"), [(AdapterError(CANARY), 502), (FaultError(CANARY), 502), (RuntimeError(CANARY), 500)]
)
def test_a_failure_tells_players_nothing(error: Exception, status: int) -> None:
    """It may speak of an inject; the facilitator reads it, but of a bug, which is in the terminal."""
    answer = Client(FakeBoard(error=error)).post("/api/hint", json={"who": "Ada"})
    assert answer.status_code == status
    assert answer.json()["error"]
    assert CANARY not in answer.text
    told = Client(FakeBoard(error=error), "facilitator").post("/api/stop-all", json={})
    assert told.status_code == status
    assert (CANARY in told.text) == (status == 502)


def test_there_are_these_acts_only() -> None:
    """Another act on an inject, another path, another method."""
    board = FakeBoard()
    console = Client(board, "facilitator")
    answer = console.post("/api/injects/deaf/explode", json={})
    assert answer.status_code == 404
    assert "expected one of confirm, skip, fire, abort, delay" in answer.json()["error"]
    assert console.get("/api/stop-all").status_code == 405
    assert console.post("/api/say", json={"who": "Ada", "kind": "found"}).status_code == 404
    assert Client(board).post("/api/stop-all", json={}).status_code == 404
    assert not board.done
