"""Drills one after the other on a warm stack of their own, two such lanes side by side."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stack.runtimes.process import ProcessRuntime
from stack.topology import Topology
from tests.drills.drill_process import CHECKOUT, SHORT, Ended, Running, run_name, scenario
from tests.integration.simulated_stack import free_topology

During = Callable[[Running], None]


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

    def _drill(self, folder: Path, arguments: tuple[str, ...], during: During | None, drill: str) -> Ended:
        running = Running(self.topology, folder, *arguments, drill=drill)
        try:
            if during is not None:
                during(running)
        except BaseException:
            running.process.send_signal(signal.SIGINT)
            running.end()
            raise
        return running.end()

    def close(self) -> None:
        """Wait for what runs, forget what does not, take the stack down."""
        self._pool.shutdown(cancel_futures=True)
        ProcessRuntime(self.topology).down(print)


@contextmanager
def two_lanes(folder: Path) -> Iterator[tuple[Lane, Lane]]:
    """Both lanes. The folders of their runs go afterwards, and ``runs/latest`` is as before."""
    latest = CHECKOUT / "runs" / "latest"
    before = latest.readlink() if latest.is_symlink() else None
    with ExitStack() as cleanup:
        first, second = (Lane(cleanup.enter_context(free_topology()), folder) for _ in range(2))
        cleanup.callback(_forget, first.ended, second.ended, latest=latest, before=before)
        cleanup.callback(first.close)
        cleanup.callback(second.close)
        yield first, second


def _forget(*lanes: dict[str, Future[Ended]], latest: Path, before: Path | None) -> None:
    """Remove the folders of these runs: a test leaves nothing that looks like a user's own run."""
    for future in (future for lane in lanes for future in lane.values()):
        if future.cancelled() or future.exception() is not None or not run_name(future.result().err):
            continue
        shutil.rmtree(future.result().folder.path, ignore_errors=True)
    if latest.is_symlink() and not latest.exists():
        latest.unlink()
        if before is not None:
            latest.symlink_to(before)
