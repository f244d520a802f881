"""Who may ask the desk of a game: each side by its token, and browsers only from our own page."""

from __future__ import annotations

from urllib.parse import urlencode

import httpx
import pytest

from harness.run.desk.auth import Side, Tokens, is_loopback
from tests.unit.desk.boards import CANARY, HOST, TOKENS, Client, FakeBoard

#: A path of each kind, with a body that would be obeyed.
ASKED: tuple[tuple[Side, str, str, dict[str, str] | None], ...] = (
    ("players", "GET", "/", None),
    ("players", "GET", "/live.js", None),
    ("players", "GET", "/api/status", None),
    ("players", "POST", "/api/say", {"who": "Ada", "kind": "found"}),
    ("players", "GET", "/there-is-no-such-page", None),
    ("facilitator", "GET", "/", None),
    ("facilitator", "GET", "/api/console", None),
    ("facilitator", "POST", "/api/stop-all", {}),
    ("facilitator", "POST", "/api/injects/x/fire", {}),
    ("facilitator", "POST", "/api/note", {"text": "x"}),
)
COOKIES = {
    "players": f"drillyard_players={TOKENS.players}",
    "facilitator": f"drillyard_facilitator={TOKENS.facilitator}",
}
SAY = {"who": "Ada", "kind": "found"}


def error_of(answer: httpx.Response) -> str:
    """The sentence of a JSON error, which is all that it has."""
    assert answer.headers["content-type"] == "application/json"
    assert CANARY not in answer.text
    said = answer.json()
    assert list(said) == ["error"]
    return str(said["error"])


@pytest.mark.parametrize(("side", "method", "path", "body"), ASKED)
def test_without_the_sides_token_nothing_is_answered(
    side: Side, method: str, path: str, body: dict[str, str] | None
) -> None:
    """No token and a wrong one are 401, the other side's is 403; in JSON, and nothing is done."""
    board = FakeBoard()
    other = TOKENS.facilitator if side == "players" else TOKENS.players
    for token, status, sentence in (
        (None, 401, "no token"),
        ("x" * 32, 401, "wrong token"),
        ("", 200, ""),
        (other, 403, "this is the"),
    ):
        answer = Client(board, side, token).ask(method, path, json=body)
        if token == "":
            assert answer.status_code in (200, 404)
            continue
        assert answer.status_code == status
        assert sentence in error_of(answer)
    assert len(board.done) == (method == "POST")


def test_a_token_is_not_found_by_its_beginning() -> None:
    """Nor by another kind of Authorization, nor in an order's address."""
    board = FakeBoard()
    for headers in ({"Authorization": f"Bearer {TOKENS.players[:-1]}"}, {"Authorization": f"Basic {TOKENS.players}"}):
        assert Client(board, token=None, headers=headers).get("/api/status").status_code == 401
    link = f"?token={TOKENS.players}"
    assert Client(board, token=None).post(f"/api/say{link}", json=SAY).status_code == 401
    assert Client(board, token=None).get(f"/api/status{link}").status_code == 401
    assert not board.done


@pytest.mark.parametrize("side", ["players", "facilitator"])
def test_a_link_with_the_token_becomes_a_cookie(side: Side) -> None:
    """It goes on by itself to the page without the token in its address; no script and no other site has the cookie."""
    token = TOKENS.players if side == "players" else TOKENS.facilitator
    answer = Client(FakeBoard(), side, None).get(f"/?{urlencode({'token': token})}")
    assert answer.status_code == 200
    assert token not in answer.text
    assert 'url=/"' in answer.text
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith(f"drillyard_{side}=")
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    page = Client(FakeBoard(), side, None, {"Cookie": COOKIES[side]}).get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")


def test_a_link_with_another_token_is_refused() -> None:
    """The console is not opened with the players' link."""
    assert Client(FakeBoard(), "facilitator", None).get(f"/?token={TOKENS.players}").status_code == 403
    assert Client(FakeBoard(), "facilitator", None).get("/?token=x").status_code == 401


def test_the_players_cookie_opens_no_console() -> None:
    """Ports share cookies: each application looks for its own, and the other's is none."""
    headers = {"Cookie": COOKIES["players"]}
    assert Client(FakeBoard(), "facilitator", None, headers).get("/api/console").status_code == 401
    both = {"Cookie": f"{COOKIES['players']}; {COOKIES['facilitator']}"}
    assert Client(FakeBoard(), "facilitator", None, both).get("/api/console").status_code == 200
    renamed = {"Cookie": f"drillyard_facilitator={TOKENS.players}"}
    assert Client(FakeBoard(), "facilitator", None, renamed).get("/api/console").status_code == 403


@pytest.mark.parametrize(
    ("base_url", "fine"),
    [
        ("http://127.0.0.1:8900", True),
        ("http://127.3.2.1", True),
        ("http://localhost:4000", True),
        ("http://[::1]:8900", True),
        ("http://game.example:8900", False),
        ("http://127.0.0.1.example", False),
        ("http://0.0.0.0:8900", False),
        ("http://10.0.0.7:8900", False),
    ],
)
def test_the_host_is_this_machine(base_url: str, fine: bool) -> None:
    """A foreign name that resolves to 127.0.0.1 (DNS rebinding) is refused, even with the token."""
    answer = Client(FakeBoard(), base_url=base_url).get("/api/status")
    assert answer.status_code == (200 if fine else 403)
    if not fine:
        assert "found another Host" in error_of(answer)


@pytest.mark.parametrize("host", ["", "127.0.0.1@evil.example", "127.0.0.1/x", "[::1", "127.0.0.1:x"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    """Whatever a program puts there."""
    assert Client(FakeBoard(), headers={"Host": host}).get("/api/status").status_code == 403


def test_an_order_with_a_cookie_comes_from_our_page() -> None:
    """Another site, another port of this machine, a sandboxed page or none is refused; the page itself is not."""
    board = FakeBoard()
    for origin in ("http://evil.example", "http://127.0.0.1:8901", "null", f"https://{HOST}", None):
        headers = {"Cookie": COOKIES["players"], **({"Origin": origin} if origin else {})}
        answer = Client(board, token=None, headers=headers).post("/api/say", json=SAY)
        assert answer.status_code == 403
        assert "found another Origin" in error_of(answer)
    assert not board.done
    ours = {"Cookie": COOKIES["players"], "Origin": f"http://{HOST}"}
    assert Client(board, token=None, headers=ours).post("/api/say", json=SAY).status_code == 200
    assert Client(board, headers={"Origin": "http://evil.example"}).post("/api/say", json=SAY).status_code == 200
    assert len(board.done) == 2


def test_no_page_may_be_framed_or_kept() -> None:
    """Each answer says so, errors as well."""
    for answer in (
        Client(FakeBoard()).get("/"),
        Client(FakeBoard()).get("/api/status"),
        Client(FakeBoard()).get("/live.js"),
        Client(FakeBoard(), token=None).get("/"),
        Client(FakeBoard(), "facilitator").get("/"),
    ):
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "same-origin"


def test_tokens_are_drawn_and_never_shown() -> None:
    """Two games have different ones, a game two; their text form has neither."""
    first, second = Tokens.drawn(), Tokens.drawn()
    assert len({first.players, first.facilitator, second.players, second.facilitator}) == 4
    assert min(map(len, (first.players, first.facilitator))) >= 32
    assert first.players not in repr(first)
    assert first.facilitator not in repr(first)


def test_what_is_loopback() -> None:
    """By the address itself, not by a resolver's word."""
    assert [is_loopback(name) for name in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert not any(map(is_loopback, ("", "0.0.0.0", "localhost.evil.example", "10.0.0.1", "::")))
