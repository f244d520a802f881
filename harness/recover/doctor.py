"""Finds and repairs what earlier runs have left behind on the stacks of this checkout.

An instance that somebody works on, a run, its watchdog, an ``up`` or a ``down``, is not touched: its locks say so. In
all others everything is looked at where it is, whatever any file says: toxics in toxiproxy, processes in the process
table, identified by pid, boot and start, so that it works after a reboot as well. A process of a run that was stopped
is named in either case. What is not of this checkout, by id and topology, is listed and never acted on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.evidence.record import RunFolder
from harness.judge import drill
from harness.model.errors import DrillyardError, FaultError, UsageError
from harness.recover import lock
from harness.recover.leftovers import (
    components,
    desks,
    foreign,
    gateways,
    journals,
    links,
    memory,
    orphans,
    stacks,
    stopped,
    switches,
    verdicts,
)
from harness.recover.leftovers.base import Find, Leftover, Processes, Site, cannot
from stack import state

RUNS = drill.ROOT / "runs"
#: In the order in which they are repaired: who could break it again, what a run says itself, what is seen.
SORTS: Sequence[Find] = (
    orphans.find, stacks.find, journals.find, components.find, memory.find, links.find, gateways.find, switches.find,
    desks.find,
)  # fmt: skip
#: A repair shows within this: toxiproxy restarts, a component comes back.
REPAIRED_WITHIN_S = 15.0
#: The watchdog of a harness that was ended has healed and given the lock back within this.
HEALED_WITHIN_S = 30.0


@dataclass(frozen=True)
class Findings:
    """What is left over, what was and is repaired, who works on the instances that were left alone, what is foreign."""

    left: list[Leftover] = field(default_factory=list)
    repaired: list[Leftover] = field(default_factory=list)
    busy: dict[int, str] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        """Put another instance's findings to these."""
        self.left.extend(other.left)
        self.repaired.extend(other.repaired)
        self.busy.update(other.busy)
        self.foreign.extend(other.foreign)


def instances() -> list[int]:
    """The instances of this checkout that something was ever started for, also when their folder is gone by now."""
    running = {folder for folder in Processes.now().folders.values() if folder.parent == state.STATE_ROOT}
    return sorted({int(one.name) for one in {*state.STATE_ROOT.glob("*"), *running} if one.name.isdigit()})


def strangers() -> Findings:
    """What lies in the folder of runs and is of no instance of this checkout."""
    identities = {number: state.known_identity(_site_folder(number)) for number in instances()}
    return Findings(foreign=list(foreign.find(RUNS, identities)))


def examine(instance: int) -> Findings:
    """Look at one instance without touching anything."""
    site = _site(instance)
    if who := _busy(site.folder):
        return Findings(left=list(stopped.find(site)), busy={instance: who})
    return Findings(left=[*_stale_lock(site), *_look_everywhere(site)])


def repair(instance: int) -> Findings:
    """Repair one instance, and look again: what is still there, or new, is left."""
    first = examine(instance)
    if not first.left or not _site_folder(instance).exists():
        return first
    problems = {one: _try(one) for one in first.left if one.kind == stopped.KIND}
    _await_watchdogs(instance)
    busy = {}
    try:
        with lock.held(_site_folder(instance) / lock.RUN, "the doctor", lambda text: None):
            problems.update((one, _try(one)) for one in first.left if one not in problems)
            left = _look_until_gone(instance, problems)
    except UsageError as error:
        busy, left = {instance: str(error)}, [one for one, problem in problems.items() if problem]
    told = [replace(one, remedy=f"NOT repaired: {problems[one]}") if problems[one] else one for one in left]
    return Findings(told, [leftover for leftover in problems if leftover not in left], busy)


def _await_watchdogs(instance: int) -> None:
    """Wait while nobody but watchdogs hold the lock: that of a harness which was ended heals first."""
    deadline = time.monotonic() + HEALED_WITHIN_S
    while stopped.watchdogs_only(_site(instance)) and time.monotonic() < deadline:
        time.sleep(0.5)


def repair_for(run: RunFolder, note: Callable[[str], None]) -> None:
    """Repair the instance of ``run``, whose lock the caller holds; a note for each repair. The run itself is spared."""
    for leftover in _look(site(run)):
        problem = _try(leftover)
        result = f"NOT repaired: {problem}" if problem else leftover.remedy
        note(f"left over from earlier: {leftover.what}; {result}")


def site(run: RunFolder) -> Site:
    """The instance of a run, as it is now."""
    return _site(int(run.plan()["instance"]), asking=run)


def _site(instance: int, asking: RunFolder | None = None) -> Site:
    return Site(instance, _site_folder(instance), RUNS, Processes.now(), asking)


def _site_folder(instance: int) -> Path:
    return state.STATE_ROOT / str(instance)


def _busy(folder: Path) -> str:
    """Who works on the instance right now; empty when nobody does."""
    for name in stopped.LOCKS:
        seen = lock.look(folder / name)
        if seen.held and name == lock.RUN:
            return lock.who(folder / name)
        if seen.held:
            return f"process {seen.name or lock.NAMELESS}, which brings it up or down"
    return ""


def _stale_lock(site: Site) -> list[Leftover]:
    if not (name := lock.look(site.folder / lock.RUN).name):
        return []
    what = f"the lock names {name}, which is gone; it keeps nobody out"
    return [site.leftover("lock", what, "it is emptied", lambda: None)]  # whoever takes and gives it back does that


def _look(site: Site) -> list[Leftover]:
    """Everything that is left over where nobody works."""
    found: list[Leftover] = []
    for find in SORTS:
        try:
            found += find(site)
        except DrillyardError as error:
            if not any(leftover.kind == "stack" for leftover in found):  # else that is why, and it has been said
                found.append(site.leftover("unknown", f"could not be examined: {error}", "by hand", cannot(error)))
            break
        except Exception as error:  # a defect, or something damaged: the other sorts are looked for all the same
            what = FaultError(f"{type(error).__name__}: {error}")
            found.append(site.leftover("unknown", f"could not be examined: {what}", "by hand", cannot(what)))
    return found


def _look_everywhere(site: Site) -> list[Leftover]:
    return [*stopped.find(site), *_look(site), *verdicts.find(site)]


def _look_until_gone(instance: int, problems: dict[Leftover, str]) -> list[Leftover]:
    """What is still left over a while after the repair. What a repair has brought to light is repaired as well."""
    deadline = time.monotonic() + REPAIRED_WITHIN_S
    while True:
        site = _site(instance)
        left = _look_everywhere(site)
        problems.update((leftover, _try(leftover)) for leftover in left if leftover not in problems)
        if time.monotonic() > deadline or all(problems[leftover] for leftover in left):
            return left
        time.sleep(0.2)


def _try(leftover: Leftover) -> str:
    """Repair it; why that was impossible, empty when it was done."""
    try:
        leftover.repair()
    except DrillyardError as error:
        return str(error)
    except Exception as error:  # a defect in one repair must not keep the others from being done
        return f"{type(error).__name__}: {error}"
    return ""
