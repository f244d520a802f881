"""Drills one after the other on a warm stack of their own."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from harness.model.topology import Topology
from harness.run.outcome import run_name
from stack.runtimes.process import ProcessRuntime
from tests.drills.drill_process import SHORT, Ended, Running, scenario
from tests.drills.outcome import CHECKOUT, TRIES, until_judged
from tests.integration.simulated_stack import free_topology

During = Callable[[Running], None]


def judged(ended: Ended) -> Ended:
    """That drill; where interference kept it from being judged, the test that asks is skipped, with the reason."""
    if ended.not_judged:
        reason = ended.verdict["reason"]
        shutil.rmtree(ended.folder.path)
        pytest.skip(f"not judged in {TRIES} tries, since the machine was disturbed: {reason}")
    return ended


class Lane:
    """One stack and the drills that run on it, one after the other."""

    def __init__(self, topology: Topology, folder: Path) -> None:
        self.topology, self.folder = topology, folder
        self._pool = ThreadPoolExecutor(max_workers=1)
        self.ended: dict[str, Future[Ended]] = {}

    def then(
        self,
        name: str,
        *arguments: str,
        of: Path = SHORT,
        phases: tuple[str, ...] = (),
        during: During | None = None,
        drill: str = "timeout-spike",
    ) -> None:
        """Queue one drill: a scenario or some phases of it."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        path = scenario(folder, *phases, of=of) if phases else of
        self.ended[name] = self._pool.submit(self._drill, folder, ("--scenario", str(path), *arguments), during, drill)

    def once(self, name: str, *arguments: str, of: Path, phases: tuple[str, ...] = (), drill: str) -> Ended:
        """How that drill ended; it is run only when the name is new."""
        if name not in self.ended:
            self.then(name, *arguments, of=of, phases=phases, drill=drill)
        return self.ended[name].result()

    def _drill(self, folder: Path, arguments: tuple[str, ...], during: During | None, drill: str) -> Ended:
        *repeated, ended = until_judged(partial(self._once, folder, arguments, during, drill))
        for one in repeated:
            shutil.rmtree(one.folder.path)
        return judged(ended)

    def _once(self, folder: Path, arguments: tuple[str, ...], during: During | None, drill: str) -> Ended:
        running = Running(self.topology, folder, *arguments, drill=drill)
        try:
            if during is not None:
                during(running)
        except BaseException:
            running.process.send_signal(signal.SIGINT)
            if (ended := running.end()).not_judged:  # it never came to what the test waits for
                return ended
            raise
        return running.end()

    def close(self) -> None:
        """Wait for what runs, forget what does not, take the stack down."""
        self._pool.shutdown(cancel_futures=True)
        ProcessRuntime(self.topology).down(print)


@contextmanager
def one_lane(folder: Path) -> Iterator[Lane]:
    """A lane. The folders of its runs go afterwards, and ``runs/latest`` is as before."""
    latest = CHECKOUT / "runs" / "latest"
    before = latest.readlink() if latest.is_symlink() else None
    with ExitStack() as cleanup:
        lane = Lane(cleanup.enter_context(free_topology()), folder)
        cleanup.callback(_forget, lane.ended, latest=latest, before=before)
        cleanup.callback(lane.close)
        yield lane


def _forget(ended: dict[str, Future[Ended]], latest: Path, before: Path | None) -> None:
    """Remove the folders of these runs: a test leaves nothing that looks like a user's own run."""
    for future in ended.values():
        if future.cancelled() or future.exception() is not None or not run_name(future.result().err):
            continue
        shutil.rmtree(future.result().folder.path, ignore_errors=True)
    if latest.is_symlink() and not latest.exists():
        latest.unlink()
        if before is not None:
            latest.symlink_to(before)
