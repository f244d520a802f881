"""Heals a run whose harness died without saying so: SIGKILL, out of memory, a machine that stops programs.

``python -m harness.watchdog RUNFOLDER`` is started with every run, in a session of its own, and reads from a pipe that
only the harness holds. A word on the pipe means that the run has ended well. The end of the pipe without it means that
the harness is gone: the kernel closes it however the harness ends. Then what is in the undo journal is taken back,
newest first, and the interrupted run is judged and rendered.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness import drill, judge, redact
from harness.adapters.toxiproxy import Toxiproxy
from harness.commands.runtime import as_topology
from harness.errors import DrillyardError
from harness.faults.base import World, take_back
from harness.probes.path import PathProbe
from harness.record import EventLog, RunFolder
from harness.undo import Journal, Undo
from reports import render
from stack.engines import DEPLOYMENT
from stack.runtimes.select import select

_ENDED = b"ended\n"
#: The load generator notices by itself that its parent is gone, and writes its files.
LOAD_ENDS_WITHIN_S = 30.0
#: Tries to take back what could not be taken back, a second apart.
TRIES = 20
#: An order to toxiproxy that the harness had sent before it died is carried out within this.
STRAGGLERS_S = 0.5


class Watchdog:
    """The watchdog of one run, as the harness holds it."""

    def __init__(self, folder: RunFolder) -> None:
        with (folder.path / "logs" / "watchdog.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.watchdog", str(folder.path)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=drill.ROOT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The watchdog's process id."""
        return self._process.pid

    def run_ended(self) -> None:
        """Tell it that the run has ended. It ends too, unless something is still to be healed: then it does that."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate(_ENDED, timeout=10)


def main(path: Path) -> int:
    """Wait for the harness to end; heal, judge and render when it did not end well."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ended_well = sys.stdin.buffer.read() == _ENDED
    folder = RunFolder(path)
    if ended_well and not Journal(path / "undo.jsonl").open_entries():
        return 0
    log = EventLog(folder, float(folder.plan()["anchor"]["mono_s"]))
    if not ended_well:
        log.add("interrupted", signal="the harness died; the watchdog heals")
    try:
        _heal(folder, log)
    finally:
        log.close()
    _await_load(folder)
    found = judge.judge(folder, drill.load(folder.plan()["drill"]))
    judge.write(folder, found)
    render.render(folder)
    return 0


def _heal(folder: RunFolder, log: EventLog) -> None:
    """Replay the journal until nothing is open, some seconds at most; then once more what was open.

    Once more, because an injection that was on its way when the harness died may have come after the first healing.
    """
    journal = Journal(folder.path / "undo.jsonl")
    found = journal.open_entries()
    if not found:
        return
    world = _world(folder)

    def run(undo: Undo) -> None:
        take_back(world, undo)
        log.add("fault_healed", fault=undo.id, phase=undo.id.split("/")[0], on_exit=True)

    for _ in range(TRIES):
        problems = journal.replay(run)
        if not problems:
            time.sleep(STRAGGLERS_S)
            for undo in found:
                take_back(world, undo)
            return
        print("\n".join(problems), file=sys.stderr, flush=True)
        time.sleep(1.0)
    log.add("cleanup_problem", why="still injected: " + "; ".join(problems))


def _world(folder: RunFolder) -> World:
    plan = folder.plan()
    runtime, _ = select(plan["runtime"], as_topology(plan["topology"]))
    api = runtime.topology.component("toxiproxy")
    # Healing crosses no link, so the probe needs no key.
    return World(runtime, Toxiproxy(api.address, api.ports["api"]), PathProbe(runtime.topology, "", DEPLOYMENT))


def _await_load(folder: RunFolder) -> None:
    """Wait until the load generator has written its summary, if it was ever started."""
    if not (folder.path / "load.json").exists():
        return
    deadline = time.monotonic() + LOAD_ENDS_WITHIN_S
    while time.monotonic() < deadline and not (folder.path / "load-summary.json").exists():
        time.sleep(0.2)


if __name__ == "__main__":
    redact.learn_environment(os.environ)
    sys.stderr = redact.Stream(sys.stderr)
    try:
        status = main(Path(sys.argv[1]))
    except DrillyardError as error:
        print(f"drillyard watchdog: {error}", file=sys.stderr)
        status = error.exit_code
    # Threads of libraries must not keep a watchdog alive that has done its work.
    sys.stderr.flush()
    os._exit(status)
