"""A scripted team beside a game: a process of its own that gets the desk's address, the players' token, and no more."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.adapters import desk
from harness.run import tasks
from harness.run.board import Board

ROOT = Path(__file__).resolve().parents[2]
#: Of the environment, what a Python program may need.
_KEPT = ("PATH", "LANG", "LC_ALL")
_ENDS_WITHIN_S = 5.0


@dataclass(frozen=True)
class Scripted:
    """Opens a game's pages with ``opened``, and lets a team play until they close.

    The way in is read where players' commands on this machine read it: in ``folder``, of the instance. ``say`` is told
    what the team does.
    """

    team: str
    opened: Callable[[Board], AbstractAsyncContextManager[object]]
    folder: Path
    say: Callable[[str], None]

    @asynccontextmanager
    async def beside(self, board: Board) -> AsyncIterator[object]:
        """The pages; the team ends with them. Raises what ``opened`` does."""
        async with self.opened(board) as addresses:
            access = desk.access({}, self.folder)
            process = await asyncio.create_subprocess_exec(
                *command(self.team), cwd=ROOT, env=environment(access), stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            telling = asyncio.create_task(self._tell(process))
            try:
                yield addresses
            finally:
                await tasks.end([telling])  # that it is ended from here is nothing to tell
                await _end(process)

    async def _tell(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout
        async for line in process.stdout:
            self.say(f"{self.team}: {line.decode(errors='replace').rstrip()}")
        self.say(f"{self.team}: ended with exit code {await process.wait()}")


def command(team: str) -> list[str]:
    """What is started; the list of processes shows it, and nothing of it is about injects."""
    return [sys.executable, "-m", "harness", "game-team", "--who", team, team]


def environment(access: desk.Access) -> dict[str, str]:
    """Where the desk is, with which token."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {desk.ADDRESS: access.url, desk.TOKEN: access.token}


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and SIGKILL for one that does not obey."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _ENDS_WITHIN_S)
    except TimeoutError:
        process.kill()
        await process.wait()
