"""The facilitator's application: the console as a page and as JSON, and what the facilitator can do."""

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
from harness.run.desk.auth import Refused
from reports.pages import game_console


def app(board: Board, charts: Charts) -> Starlette:
    """The application; who may ask is decided before it (auth.py)."""
    acts = {"confirm": board.confirm, "skip": board.skip, "fire": board.fire, "abort": board.abort}

    async def front(request: Request) -> Response:
        view = data.of_console(board.console())
        return page(game_console.render(view, charts(), still="still" in request.query_params))

    async def console(_: Request) -> Response:
        return told(data.of_console(board.console()))

    async def delay(request: Request, asked: orders.Delay) -> Mapping[str, Any]:
        await board.delay(request.path_params["id"], asked.seconds)
        return {}

    async def act(request: Request, _: orders.Nothing) -> Mapping[str, Any]:
        name = request.path_params["act"]
        if name not in acts:
            raise Refused(404, f"found {name[:50]!r}, expected one of {', '.join((*acts, 'delay'))}")
        await acts[name](request.path_params["id"])
        return {}

    async def stop_all(_: Request, __: orders.Nothing) -> Mapping[str, Any]:
        await board.stop_all()
        return {}

    async def note(_: Request, written: orders.Note) -> Mapping[str, Any]:
        await board.note(written.text)
        return {}

    routes = [
        Route("/", front, methods=["GET"]),
        Route("/api/console", console, methods=["GET"]),
        order("/api/injects/{id}/delay", orders.Delay, delay),
        order("/api/injects/{id}/{act}", orders.Nothing, act),
        order("/api/stop-all", orders.Nothing, stop_all),
        order("/api/note", orders.Note, note),
    ]
    return application(routes, tells_why=True)
