"""A board without a game, whose injects carry words that no player may read, and ways to ask the desk about it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from harness.model.errors import DrillyardError
from harness.run.board import (
    AlertNow,
    Board,
    ComponentNow,
    ConsoleView,
    DiagnosisChoices,
    Hint,
    InjectNow,
    Message,
    OpsDone,
    SloNow,
    UsedBy,
)
from harness.run.desk import console, players, server
from harness.run.desk.app import Charts
from harness.run.desk.auth import Guarded, Side, Tokens
from harness.run.desk.server import Addresses

TOKENS = Tokens("players-" + "p" * 24, "facilitator-" + "f" * 24)
HOST = "127.0.0.1:8900"
#: In every field of an inject, in notes and in what comes next.
CANARY = "canary-of-the-inject"
DUE_S, HIT_S, MITIGATED_S = 98765.0, 87654.0, 76543.0
SECRETS = (CANARY, "98765", "87654", "76543", "1646:05", "1460:54", "1275:43")


def a_view(text: str = "calm", **changed: Any) -> ConsoleView:
    """A game in its third minute; ``text`` wherever people or servers choose the words."""
    fields: dict[str, Any] = {
        "title": text,
        "briefing": text,
        "clock_s": 150.0,
        "lasts_s": 1800.0,
        "slos": (SloNow("availability", ">= 99 %", 99.5, "%", True), SloNow("ttft", "<= 2 s", None, "s", None)),
        "alerts": (AlertNow(text, "page", {"replica": text}, 100.0),),
        "components": (
            ComponentNow("replica-1", "replica", text, {"gateway-a": UsedBy("ready", 100, True)}),
            ComponentNow("gateway-a", "gateway", "running", {}),
        ),
        "channel": (Message(110.0, text, "found", text),),
        "ops": (OpsDone(120.0, text, f"drain {text}", text),),
        "diagnosis": DiagnosisChoices(("replica-1", "gateway-a"), ("a replica hangs", "DNS lies")),
        "hints_taken": (Hint(text, 5),),
        "load": f"4 requests per second, {text}",
        "injects": (
            InjectNow(CANARY, CANARY, "due", DUE_S, CANARY, CANARY, True, HIT_S, MITIGATED_S, None),
            InjectNow(f"{CANARY}-2", CANARY, "running", None, CANARY, CANARY, None, None, None, False),
        ),
        "next": CANARY,
        "notes": (Message(130.0, "", "note", CANARY),),
    }
    return ConsoleView(**{**fields, **changed})


@dataclass
class FakeBoard:
    """Keeps what it is told in ``done``; ``error`` is what every order raises.

    It hands the whole console over to players as well: the desk has to pass on their part alone.
    """

    view: ConsoleView = field(default_factory=a_view)
    error: DrillyardError | Exception | None = None
    done: list[tuple[object, ...]] = field(default_factory=list)

    def players(self) -> ConsoleView:
        """More than players may see."""
        return self.view

    def console(self) -> ConsoleView:
        """All of it."""
        return self.view

    async def say(self, who: str, kind: str, text: str) -> None:
        """Keep it."""
        self._keep("say", who, kind, text)

    async def ops(self, who: str, command: str, component: str, value: str) -> str:
        """Keep it."""
        self._keep("ops", who, command, component, value)
        return f"{component}: {command} done"

    async def diagnose(self, who: str, component: str, mechanism: str, since_s: float) -> None:
        """Keep it."""
        self._keep("diagnose", who, component, mechanism, since_s)

    async def hint(self, who: str) -> str:
        """Keep it."""
        self._keep("hint", who)
        return "compare the replicas"

    async def confirm(self, id: str) -> None:
        """Keep it."""
        self._keep("confirm", id)

    async def skip(self, id: str) -> None:
        """Keep it."""
        self._keep("skip", id)

    async def delay(self, id: str, seconds: float) -> None:
        """Keep it."""
        self._keep("delay", id, seconds)

    async def fire(self, id: str) -> None:
        """Keep it."""
        self._keep("fire", id)

    async def abort(self, id: str) -> None:
        """Keep it."""
        self._keep("abort", id)

    async def stop_all(self) -> None:
        """Keep it."""
        self._keep("stop_all")

    async def note(self, text: str) -> None:
        """Keep it."""
        self._keep("note", text)

    def _keep(self, *what: object) -> None:
        if self.error is not None:
            raise self.error
        self.done.append(what)


@dataclass
class Client:
    """One application of the desk, without a socket; each call is one request. ``token`` None: none is sent."""

    board: Board
    side: Side = "players"
    token: str | None = ""  # "": the side's own
    headers: dict[str, str] = field(default_factory=dict)
    base_url: str = f"http://{HOST}"
    charts: Charts = server.no_charts

    def get(self, path: str, **request: Any) -> httpx.Response:
        """Ask."""
        return self.ask("GET", path, **request)

    def post(self, path: str, **request: Any) -> httpx.Response:
        """Send."""
        return self.ask("POST", path, **request)

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """One request; a bug in the application is its answer, as it is over a socket."""
        return asyncio.run(self.asked(method, path, **request))

    async def asked(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The same within a running loop."""
        build = players.app if self.side == "players" else console.app
        guarded = Guarded(build(self.board, self.charts), TOKENS, self.side)
        transport = httpx.ASGITransport(guarded, raise_app_exceptions=False)
        own = TOKENS.players if self.side == "players" else TOKENS.facilitator
        token = own if self.token == "" else self.token
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **self.headers}
        async with httpx.AsyncClient(transport=transport, base_url=self.base_url, headers=headers) as client:
            return await client.request(method, path, **request)


@contextmanager
def served(board: FakeBoard) -> Iterator[Addresses]:
    """The desk over real sockets, in a thread of its own, until the block is left."""
    ready, over = threading.Event(), threading.Event()
    found: list[Addresses] = []

    async def serve() -> None:
        async with server.opened(board, "127.0.0.1", 0, 0, TOKENS) as addresses:
            found.append(addresses)
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(60)
        yield found[0]
    finally:
        over.set()
        thread.join(60)
        assert not thread.is_alive()
