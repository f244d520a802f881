"""Serves the desk beside the game: in its event loop, on this machine's own addresses alone."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from harness.adapters.desk import ACCESS_FILE, LINKS_FILE
from harness.model.errors import PortTaken, StackError, UsageError
from harness.run import tasks
from harness.run.board import Board
from harness.run.desk import console, players
from harness.run.desk.app import Charts
from harness.run.desk.auth import Guarded, Tokens, is_loopback
from harness.run.desk.curves import Curves
from reports.charts import Chart

PORT_PLAYERS, PORT_CONSOLE = 8900, 8901
_STARTS_WITHIN_S, _ENDS_WITHIN_S, _CONNECTIONS_MAX = 10.0, 5.0, 100


@dataclass(frozen=True)
class Addresses:
    """Where the two applications are, without their tokens."""

    players_url: str
    console_url: str


def no_charts() -> Sequence[Chart]:
    """For a game whose monitoring is not asked."""
    return ()


@asynccontextmanager
async def opened(
    board: Board, address: str, port_players: int, port_console: int, tokens: Tokens, charts: Charts = no_charts
) -> AsyncIterator[Addresses]:
    """Serve both applications until the block is left; port 0 is any free one.

    UsageError for an address that others reach, PortTaken for a port that is taken.
    """
    if not is_loopback(address) or address == "localhost":
        raise UsageError(f"the desk of a game: found {address}, expected an address of loopback such as 127.0.0.1")
    applications = (
        Guarded(players.app(board, charts), tokens, "players"),
        Guarded(console.app(board, charts), tokens, "facilitator"),
    )
    with ExitStack() as held:
        listening = [held.enter_context(_listening(address, port)) for port in (port_players, port_console)]
        servers = [_Server(_config(application)) for application in applications]
        serving = [asyncio.create_task(server.serve([one])) for server, one in zip(servers, listening, strict=True)]
        try:
            await _started(servers, serving)
            yield Addresses(*map(_url, listening))
        finally:
            for server in servers:
                server.should_exit = True
            await asyncio.wait(serving, timeout=_ENDS_WITHIN_S)
            await tasks.end(serving)


@contextmanager
def handed_out(folder: Path, addresses: Addresses, tokens: Tokens) -> Iterator[Path]:
    """Keep the ways in in files of the folder that only this user can read, until the end; where the links are.

    ``players.json`` is for the players' commands on this machine (`harness say`, …). ``game-links.json`` is for the
    facilitator: a terminal shows no tokens, and may be on a wall.
    """
    links = {"console": _link(addresses.console_url, tokens.facilitator),
             "players": _link(addresses.players_url, tokens.players)}  # fmt: skip
    written = {
        folder / ACCESS_FILE: {"url": addresses.players_url, "token": tokens.players}, folder / LINKS_FILE: links,
    }  # fmt: skip
    try:
        for path, data in written.items():
            _write_private(path, data)
        yield folder / LINKS_FILE
    finally:
        for path in written:
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Place:
    """Where the desk of a game on this machine is: an instance has an address of its own, and so its own cookies.

    ``say`` tells whoever runs the game where the links are.
    """

    instance: int
    folder: Path  # of the instance
    say: Callable[[str], None]
    port_players: int = PORT_PLAYERS
    port_console: int = PORT_CONSOLE
    prometheus: str = ""  # the address of the stack's; "": no charts

    @asynccontextmanager
    async def opened(self, board: Board) -> AsyncIterator[Addresses]:
        """Draw the tokens, open the desk and hand out the ways in. Raises what the function ``opened`` does."""
        tokens, address = Tokens.drawn(), f"127.0.{self.instance}.1"
        ports = self.port_players, self.port_console
        async with self._charts(board) as charts, opened(board, address, *ports, tokens, charts) as addresses:
            with handed_out(self.folder, addresses, tokens) as links:
                self.say(f"console {addresses.console_url}, players {addresses.players_url}; links to both: {links}")
                yield addresses

    @asynccontextmanager
    async def _charts(self, board: Board) -> AsyncIterator[Charts]:
        if not self.prometheus:
            yield no_charts
            return
        curves = Curves.of(self.prometheus, lambda: board.players().clock_s)
        keeping = asyncio.create_task(curves.keep())
        try:
            yield curves.charts
        finally:
            await tasks.end([keeping])
            curves.close()


def _link(url: str, token: str) -> str:
    return f"{url}/?token={token}"


def _write_private(path: Path, data: dict[str, str]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(data, file, indent=1)
    temporary.replace(path)


class _Server(uvicorn.Server):
    """uvicorn without handlers of signals: the game has its own."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave them alone."""
        yield


def _config(application: Guarded) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        log_config=None,
        log_level="error",
        access_log=False,  # it would hold the token of a link
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        limit_concurrency=_CONNECTIONS_MAX,
        timeout_graceful_shutdown=2,
    )


def _listening(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family)
    except OSError as error:
        why = error.strerror or error
        raise PortTaken(f"the desk of a game cannot listen at {address}:{port}: {why}; choose another port") from error


async def _started(servers: Sequence[_Server], serving: Sequence[asyncio.Task[None]]) -> None:
    try:
        async with asyncio.timeout(_STARTS_WITHIN_S):
            while not all(server.started for server in servers):
                if any(task.done() for task in serving):
                    raise StackError("the desk of the game has ended at its start")
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise StackError(f"the desk of the game did not start in {_STARTS_WITHIN_S:g} s") from None


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
