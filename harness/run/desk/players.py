"""The players' application: their page, its figures as JSON, and what they can say and do.

It asks the board for ``players()`` alone: nothing of the injects reaches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from harness.run.board import Board
from harness.run.desk import data, orders
from harness.run.desk.app import Charts, application, order, page, told
from reports.pages import game_players


def app(board: Board, charts: Charts) -> Starlette:
    """The application; who may ask is decided before it (auth.py)."""

    async def front(request: Request) -> Response:
        view = data.of_players(board.players())
        return page(game_players.render(view, charts(), still="still" in request.query_params))

    async def status(_: Request) -> Response:
        return told(data.of_players(board.players()))

    async def curves(request: Request) -> Response:
        return told({"charts": data.of_charts(charts(), board.players().clock_s - orders.last_s(request))})

    async def say(_: Request, said: orders.Say) -> Mapping[str, Any]:
        await board.say(said.who, said.kind, said.text)
        return {}

    async def ops(_: Request, asked: orders.Ops) -> Mapping[str, Any]:
        return {"outcome": await board.ops(asked.who, asked.command, asked.component, asked.value)}

    async def diagnose(_: Request, found: orders.Diagnose) -> Mapping[str, Any]:
        await board.diagnose(found.who, found.component, found.mechanism, found.since)
        return {}

    async def hint(_: Request, asked: orders.Hint) -> Mapping[str, Any]:
        return {"hint": await board.hint(asked.who)}

    routes = [
        Route("/", front, methods=["GET"]),
        Route("/api/status", status, methods=["GET"]),
        Route("/api/charts", curves, methods=["GET"]),
        order("/api/say", orders.Say, say),
        order("/api/ops", orders.Ops, ops),
        order("/api/diagnose", orders.Diagnose, diagnose),
        order("/api/hint", orders.Hint, hint),
    ]
    return application(routes, tells_why=False)
