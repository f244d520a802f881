"""Who may ask the desk: a token, and a browser that was not led here by another page.

A loopback address is no protection: every program and every web page on this machine reaches it. So each request has
a token; ``Host`` is a loopback name, which a page that rebinds its own name to 127.0.0.1 cannot say; and an order that
comes with a cookie says by ``Origin`` that our own page sent it. Ports share a machine's cookies: each application
looks only for its own.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from harness.model import redact

Side = Literal["players", "facilitator"]
_QUERY_CHARS_MAX = 4096
#: A page of ours runs our own script, loads nothing from elsewhere, and stands in no other page.
#: ``same-origin``: without a referrer browsers say ``Origin: null`` for forms.
SAFE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
#: ``SameSite=Strict`` keeps a cookie back while a foreign page's link is followed: our own page has to go on from here.
_COME_IN = (
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Game day</title>'
    '<meta http-equiv="refresh" content="0; url=/"></head><body><p><a href="/">Go on</a></p></body></html>'
)


@dataclass(frozen=True)
class Tokens:
    """The two tokens of a game. Nothing writes them into a log or a record."""

    players: str = field(repr=False)
    facilitator: str = field(repr=False)

    def __post_init__(self) -> None:
        """Whoever has them does not write them."""
        redact.learn(self.players, self.facilitator)

    @classmethod
    def drawn(cls) -> Tokens:
        """Two new ones."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24))

    def side_of(self, token: str) -> Side | None:
        """Whose it is."""
        given = token.encode(errors="replace")
        of_players = hmac.compare_digest(given, self.players.encode())
        of_facilitator = hmac.compare_digest(given, self.facilitator.encode())
        return "facilitator" if of_facilitator else "players" if of_players else None


class Refused(Exception):
    """A request that is not answered; ``sentence`` says why, and what was expected."""

    def __init__(self, status: int, sentence: str) -> None:
        self.status, self.sentence = status, sentence
        super().__init__(sentence)


class Guarded:
    """An application behind the token of ``side``."""

    def __init__(self, app: ASGIApp, tokens: Tokens, side: Side) -> None:
        self._app, self._tokens, self._side = app, tokens, side

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] != "http":
            return
        try:
            came_in = self._admitted(scope)
        except Refused as refused:
            response = refusal(refused.status, refused.sentence)
            await response(scope, receive, send)
            return
        answer: ASGIApp = self._with_cookie(came_in) if came_in else self._app
        await answer(scope, receive, send)

    def _admitted(self, scope: Scope) -> str | None:
        """The token of a link, which is to become a cookie; None where the request has its token. Raises Refused."""
        headers = Headers(scope=scope)
        _require_host(headers)
        if (bearer := _bearer(headers)) is not None:
            self._require(bearer)
            return None
        if scope["method"] == "GET" and scope["path"] == "/" and (token := _of_query(scope["query_string"])):
            self._require(token)
            return token
        cookie = HTTPConnection(scope).cookies.get(self._cookie)
        if cookie is None:
            raise Refused(401, f"no token: expected «Authorization: Bearer TOKEN», with the {self._side} token")
        self._require(cookie)
        if scope["method"] not in ("GET", "HEAD"):
            _require_origin(headers)
        return None

    @property
    def _cookie(self) -> str:
        return f"drillyard_{self._side}"

    def _require(self, token: str) -> None:
        found = self._tokens.side_of(token)
        if found is None:
            raise Refused(401, f"wrong token: expected the {self._side} token of this game")
        if found != self._side:
            raise Refused(403, f"this is the {found} token: expected the {self._side} token of this game")

    def _with_cookie(self, token: str) -> Response:
        response = HTMLResponse(_COME_IN, headers=SAFE)
        response.set_cookie(self._cookie, token, httponly=True, samesite="strict")
        return response


def refusal(status: int, sentence: str) -> Response:
    """The JSON of an answer that is none: ``{"error": sentence}``."""
    headers = {**SAFE, "WWW-Authenticate": "Bearer"} if status == 401 else SAFE
    return JSONResponse({"error": sentence}, status, headers)


def _bearer(headers: Headers) -> str | None:
    """The token of an ``Authorization`` header; None without one. Raises Refused for another kind."""
    said = headers.get("authorization")
    if said is None:
        return None
    kind, _, token = said.partition(" ")
    if kind.lower() != "bearer":
        raise Refused(401, "found another Authorization, expected «Authorization: Bearer TOKEN»")
    return token.strip()


def _of_query(query: bytes) -> str:
    """``?token=``; "" without one."""
    if len(query) > _QUERY_CHARS_MAX:
        return ""
    return parse_qs(query.decode("ascii", "replace")).get("token", [""])[0]


def _require_host(headers: Headers) -> None:
    """Refused unless the request was sent to this machine's own name, at whatever port: a tunnel may have another."""
    said = headers.getlist("host")
    host = _hostname(said[0]) if len(said) == 1 else ""
    if not is_loopback(host):
        raise Refused(403, "found another Host, expected 127.0.0.1 or localhost, with a port")


def _hostname(host: str) -> str:
    try:
        parts = urlsplit(f"//{host}")
        found = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return ""
    return "" if parts.path or parts.query or parts.fragment or "@" in parts.netloc else found


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own by definition, not by some resolver's word."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_origin(headers: Headers) -> None:
    """Refused unless our own page sent an order that comes with a cookie."""
    if headers.getlist("origin") != [f"http://{headers['host']}"]:
        raise Refused(403, "an order with a cookie comes from this page alone: found another Origin, or none")
