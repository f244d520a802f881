"""What both applications of the desk are made of: an order is read, given to the board and answered; errors as JSON.

Whoever sent a form gets a page: the one it came from, or the sentence that says why not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from harness.model.errors import DrillyardError, UsageError
from harness.run.desk.auth import SAFE, Refused, refusal
from harness.run.desk.orders import AnOrder, is_form, read
from reports.charts import Chart
from reports.pages import game_players

#: The pictures beside the figures, as they are now.
Charts = Callable[[], Sequence[Chart]]
_UNTOLD = "that failed: look at the component, or ask the facilitator"
#: Asks for the page again, and puts what has changed into the one that is shown.
SCRIPT = (Path(__file__).parent / "live.js").read_text(encoding="utf-8")


def application(routes: Sequence[Route], *, tells_why: bool) -> Starlette:
    """``tells_why``: whoever is served may read why something failed; players might read of an inject."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return _answered(request, error.status, error.sentence)

    async def not_there(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return refusal(error.status_code, f"{request.method} {request.url.path[:200]}: {error.detail}")

    async def not_possible(request: Request, error: Exception) -> Response:
        return _answered(request, 400, str(error))

    async def failed(request: Request, error: Exception) -> Response:
        return _answered(request, 502, str(error) if tells_why else _UNTOLD)

    async def bug(request: Request, error: Exception) -> Response:
        answer = _answered(request, 500, "a bug in the harness: the terminal of the game has the details")
        answer.headers["Connection"] = "close"  # the server closes it without a word: nobody may send over it again
        return answer

    handlers: dict[Any, Any] = {
        Refused: refused, HTTPException: not_there, UsageError: not_possible, DrillyardError: failed, Exception: bug,
    }  # fmt: skip
    return Starlette(routes=[*routes, Route("/live.js", _script)], exception_handlers=handlers)


def page(html: str) -> Response:
    """A page of ours."""
    return HTMLResponse(html, headers=SAFE)


def told(data: Mapping[str, Any]) -> Response:
    """A JSON answer."""
    return JSONResponse(dict(data), headers=SAFE)


def order(
    path: str, kind: type[AnOrder], carry_out: Callable[[Request, AnOrder], Awaitable[Mapping[str, Any]]]
) -> Route:
    """The route of an order: POST, JSON or a form. The answer has ``{"ok": true}`` and what ``carry_out`` returns."""

    async def take(request: Request) -> Response:
        came_of_it = await carry_out(request, await read(request, kind))
        if is_form(request):
            return RedirectResponse("/", 303, SAFE)
        return told({"ok": True, **came_of_it})

    return Route(path, take, methods=["POST"])


def _answered(request: Request, status: int, sentence: str) -> Response:
    if is_form(request):
        return HTMLResponse(game_players.refused(sentence), status, SAFE)
    return refusal(status, sentence)


async def _script(_: Request) -> Response:
    return Response(SCRIPT, media_type="text/javascript", headers=SAFE)
