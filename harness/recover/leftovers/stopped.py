"""Processes of ours that were stopped (SIGSTOP, Ctrl-Z) and hold a stack: they do nothing, and keep others out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import psutil

from harness.model.errors import FaultError, StackError
from harness.model.lease import LEASE_S
from harness.recover import lock
from harness.recover.leftovers.base import Leftover, Processes, Site, cannot
from stack import state
from stack.runtimes import family
from stack.state import ProcessMark

KIND = "stopped"
#: The locks of an instance: that of runs, and that of whoever brings it up or down.
LOCKS = (lock.RUN, state.LOCK)
_CHILDREN = {"harness.recover.watchdog": "watchdog", "harness.load": "load generator"}


def find(site: Site) -> Iterator[Leftover]:
    """Every stopped holder of a lock of the instance, and every stopped watchdog or load generator of its runs."""
    seen_s = time.monotonic()
    for pid, whose in _candidates(site).items():
        if not family.is_stopped(pid):
            continue
        try:
            known = family.mark(pid)
        except StackError:  # it has ended meanwhile
            continue
        what = f"{whose} is stopped (pid {pid}, state T): `kill -CONT {pid}` or `doctor --fix`"
        if _is_harness(site.processes, pid):
            remedy = "it is ended, and what it has injected is rolled back"
            yield site.leftover(KIND, what, remedy, partial(_end, known, seen_s))
        else:
            why = FaultError(f"process {pid} is no process of Drillyard")
            yield site.leftover(KIND, what, "by hand", cannot(why))


def watchdogs_only(site: Site) -> bool:
    """Whether the lock of runs is held, and by watchdogs alone: they heal, and give it back."""
    pids = {one.pid for found in site.processes.by_run("harness.recover.watchdog").values() for one in found}
    holders = lock.holders(site.folder / LOCKS[0])
    return bool(holders) and pids >= set(holders)


def _candidates(site: Site) -> dict[int, str]:
    """Whose process each pid is, in words."""
    children = {module: site.processes.by_run(module) for module in _CHILDREN}
    parents = {_parent(one): run for found in children.values() for run, some in found.items() for one in some}
    whose = {}
    for name in LOCKS:
        for pid in lock.holders(site.folder / name):
            path, who = parents.get(pid), lock.who(site.folder / name)
            whose[pid] = f"run {path.name}: its harness" if path else f"the holder of {name} ({who})"
    for module, found in children.items():
        for run in site.own_runs(found):
            whose |= {one.pid: f"run {run.path.name}: its {_CHILDREN[module]}" for one in found[run.path]}
    return whose


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.Error:
        return None


def _is_harness(processes: Processes, pid: int) -> bool:
    """Whether it was started as ``python -m harness…``; a lock may be held by anybody who may open its file."""
    line = next((line for process, line in processes.lines.items() if process.pid == pid), [])
    following = line[line.index("-m") + 1 :][:1] if "-m" in line else []
    return following != [] and following[0].partition(".")[0] == "harness"


def _end(known: ProcessMark, seen_s: float) -> None:
    """SIGKILL, so that it does nothing more, once it has been stopped for longer than a lease lasts."""
    while True:
        if (process := family.marked(known)) is None:
            return
        if not family.is_stopped(known.pid):
            raise StackError(f"process {known.pid} goes on again, and is left alone")
        if time.monotonic() > seen_s + LEASE_S:
            break
        time.sleep(0.2)
    process.kill()
    if family.wait_gone([process], 5.0):
        raise StackError(f"process {known.pid} survived SIGKILL")
