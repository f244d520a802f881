"""A team beside a game: a process that gets address and token, plays while the pages are open, and ends with them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from harness.adapters import desk
from harness.cli import game_day, main
from harness.model.errors import UsageError
from harness.run import scripted
from harness.run.board import Board
from harness.run.desk import server
from harness.run.scripted import Scripted
from tests.unit.desk.boards import TOKENS, FakeBoard, a_view


def test_a_team_plays_while_the_pages_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a process of its own, whose environment has the way in and no secret of ours, and it plays."""
    monkeypatch.setenv("A_SECRET_OF_THE_GAME", "canary")
    board, said = FakeBoard(a_view(clock_s=5.0)), list[str]()

    @asynccontextmanager
    async def opened(of: Board) -> AsyncIterator[object]:
        async with server.opened(of, "127.0.0.1", 0, 0, TOKENS) as addresses:
            with server.handed_out(tmp_path, addresses, TOKENS):
                yield addresses

    async def play() -> tuple[list[str], dict[str, str]]:
        async with Scripted("restarts", opened, tmp_path, said.append).beside(board):
            children = psutil.Process().children()  # pytest's worker may have others
            (process,) = (one for one in children if "game-team" in one.cmdline())
            seen = process.cmdline(), process.environ()
            async with asyncio.timeout(60):
                while not board.done:  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(0.05)
        assert not process.is_running()
        return seen

    line, environment = asyncio.run(play())
    assert line[1:] == ["-m", "harness", "game-team", "--who", "restarts", "restarts"]
    assert environment[desk.TOKEN] == TOKENS.players
    assert set(environment) <= {desk.ADDRESS, desk.TOKEN, "PATH", "LANG", "LC_ALL", "LC_CTYPE"}
    assert board.done[0] == ("say", "restarts", "found", "")
    assert any("found" in words for words in said)


def test_a_team_that_has_ended_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the game goes on."""
    monkeypatch.setattr(scripted, "command", lambda team: ["sh", "-c", "echo bye; exit 3"])
    (tmp_path / desk.ACCESS_FILE).write_text('{"url": "http://127.0.0.1:1", "token": "players-token-of-no-game"}')
    said = list[str]()

    @asynccontextmanager
    async def opened(_: Board) -> AsyncIterator[object]:
        yield None

    async def play() -> None:
        async with Scripted("well", opened, tmp_path, said.append).beside(FakeBoard()), asyncio.timeout(60):
            while len(said) < 2:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.02)

    asyncio.run(play())
    assert said == ["well: bye", "well: ended with exit code 3"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scripted", "nobody"), "there is no team 'nobody'; expected idle, restarts, well"),
        (("--scripted", "--confirm"), "--confirm waits for whoever runs the game"),
        (("--scripted", "idle", "--dry-run"), "expected neither --dry-run nor --packs"),
        (("--dry-run", "--seed", "x"), "found 'x', expected a whole number, or -"),
    ],
)
def test_what_does_not_fit_is_one_line(options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is started."""
    assert main.main(["game-day", "first-watch", *options]) == 64
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


def test_a_seed_that_is_typed_is_in_no_list_of_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It comes from standard input, and draws the same as one on the command line; a warning is about the latter."""
    asked = ["game-day", "first-watch", "--dry-run", "--show-answers", "--salt", "s", "--seed"]
    monkeypatch.setattr("sys.stdin", io.StringIO("7\n"))
    assert main.main([*asked, "-"]) == 0
    typed = capsys.readouterr().out
    assert main.main([*asked, "7"]) == 0
    assert capsys.readouterr().out == typed
    monkeypatch.setattr("sys.stdin", io.StringIO("seven\n"))
    with pytest.raises(UsageError, match="found 'seven' on standard input"):
        game_day._typed()
