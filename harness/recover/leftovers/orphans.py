"""Processes that nobody will end: load generators and watchdogs of dead runs, parts of a stack that is forgotten."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import psutil

from harness.evidence.record import RunFolder
from harness.model.errors import StackError, UsageError
from harness.recover.leftovers.base import Leftover, Site, cannot
from stack.runtimes import family

#: A watchdog that has healed goes on: it watches what starts, judges and renders. All of that is bounded by less.
WATCHDOG_ENDS_WITHIN_S = 600.0
_GRACE_S = 2.0


def find(site: Site) -> Iterator[Leftover]:
    """Orphans of dead runs first, then those of earlier stacks of the instance."""
    load, watchdogs = (site.processes.by_run(module) for module in ("harness.load", "harness.recover.watchdog"))
    for run in site.dead_runs([*load, *watchdogs]):
        if found := load.get(run.path):
            yield _orphans(site, f"the load generator of run {run.path.name}", found)
        if (found := watchdogs.get(run.path)) and _quiet_s(run) > WATCHDOG_ENDS_WITHIN_S:
            yield _orphans(site, f"the watchdog of run {run.path.name}, which has done nothing for long,", found)
    if strays := _strays(site):
        yield _orphans(site, "what is left of a stack that nobody knows any more", strays)
    elif nobodys := _nobodys(site):
        yield _of_nobody(site, nobodys)


def _orphans(site: Site, whose: str, processes: list[psutil.Process]) -> Leftover:
    pids = ", ".join(str(process.pid) for process in processes)
    what = f"{whose} still runs (process {pids})"
    return site.leftover("orphan", what, "ended: SIGTERM, SIGKILL after 2 s", lambda: _end(processes))


def _of_nobody(site: Site, processes: list[psutil.Process]) -> Leftover:
    pids = " ".join(str(process.pid) for process in processes)
    what = f"a stack without a state file runs (processes {pids}): {site.folder} was moved or deleted under it"
    remedy = f"nothing, it may be in use: bring {site.folder} back, or end it (`kill {pids}`)"
    return site.leftover("orphan", what, remedy, cannot(StackError(remedy)))


def _quiet_s(run: RunFolder) -> float:
    with suppress(FileNotFoundError):
        return time.time() - (run.path / "events.jsonl").stat().st_mtime
    return 0.0


def _strays(site: Site) -> list[psutil.Process]:
    """Processes that were started for this instance's folder, but not for the stack that runs in it now."""
    try:
        ours = site.stack
    except UsageError:
        return []  # who can tell? The broken state file is found as such
    return [] if ours is None else [one for one in _started(site) if family.instance_of(one) != ours.instance_id]


def _nobodys(site: Site) -> list[psutil.Process]:
    """Those of a stack whose state is not where it was: without that nobody can tell a healthy one from an orphan."""
    with suppress(UsageError):
        return _started(site) if site.stack is None else []
    return []


def _started(site: Site) -> list[psutil.Process]:
    """Live processes that were started for this instance's folder."""
    return [one for one in site.started if family.alive(one)]


def _end(processes: list[psutil.Process]) -> None:
    still = (process for process in processes if process.is_running())  # and no other with its number
    if left := family.end([child for process in still for child in family.tree(process.pid)], _GRACE_S):
        raise StackError(f"processes {[process.pid for process in left]} survived SIGKILL")
