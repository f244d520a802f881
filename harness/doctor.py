"""Finds and repairs what earlier runs have left behind on the stacks of this checkout.

An instance that somebody works on, a run, its watchdog, an ``up`` or a ``down``, is not touched: its locks say so. In
all others everything is looked at where it is, whatever any file says: toxics in toxiproxy, processes in the process
table, identified by pid and start time, so that it works after a reboot as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness import drill, lock
from harness.errors import DrillyardError, UsageError
from harness.leftovers import components, gateways, journals, links, memory, orphans, stacks, switches, verdicts
from harness.leftovers.base import Find, Leftover, Processes, Site, cannot
from harness.record import RunFolder
from stack import state

RUNS = drill.ROOT / "runs"
#: In the order in which they are repaired: who could break it again, what a run says itself, what is seen.
SORTS: Sequence[Find] = (
    orphans.find, stacks.find, journals.find, components.find, memory.find, links.find, gateways.find, switches.find,
)  # fmt: skip
#: Held by a run, and by its watchdog until it has healed.
LOCK = "run.lock"
#: A repair shows within this: toxiproxy restarts, a component comes back.
REPAIRED_WITHIN_S = 15.0


@dataclass(frozen=True)
class Findings:
    """What is left over, what was and is repaired, and who works on the instances that were left alone."""

    left: list[Leftover] = field(default_factory=list)
    repaired: list[Leftover] = field(default_factory=list)
    busy: dict[int, str] = field(default_factory=dict)

    def add(self, other: Findings) -> None:
        """Put another instance's findings to these."""
        self.left.extend(other.left)
        self.repaired.extend(other.repaired)
        self.busy.update(other.busy)


def instances() -> list[int]:
    """The instances of this checkout that something was ever started for."""
    return sorted(int(folder.name) for folder in state.STATE_ROOT.glob("*") if folder.name.isdigit())


def examine(instance: int) -> Findings:
    """Look at one instance without touching anything."""
    site = _site(instance)
    if who := _busy(site.folder):
        return Findings(busy={instance: who})
    return Findings(left=[*_stale_lock(site), *_look(site), *verdicts.find(site)])


def repair(instance: int) -> Findings:
    """Repair one instance, and look again: what is still there, or new, is left."""
    first = examine(instance)
    if not first.left:
        return first
    try:
        with lock.held(_site(instance).folder / LOCK, "the doctor", lambda text: None):
            problems = {leftover: _try(leftover) for leftover in first.left}
            left = _look_until_gone(instance, problems)
    except UsageError as error:
        return Findings(busy={instance: str(error)})
    told = [replace(one, remedy=f"NOT repaired: {problems[one]}") if problems[one] else one for one in left]
    return Findings(told, [leftover for leftover in problems if leftover not in left])


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
    return Site(instance, state.STATE_ROOT / str(instance), RUNS, Processes.now(), asking)


def _busy(folder: Path) -> str:
    """Who works on the instance right now; empty when nobody does."""
    for name in (LOCK, "lock"):
        if (seen := lock.look(folder / name)).held:
            return seen.name if name == LOCK else f"process {seen.name}, which brings it up or down"
    return ""


def _stale_lock(site: Site) -> list[Leftover]:
    if not (name := lock.look(site.folder / LOCK).name):
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
    return found


def _look_until_gone(instance: int, problems: dict[Leftover, str]) -> list[Leftover]:
    """What is still left over a while after the repair. What a repair has brought to light is repaired as well."""
    deadline = time.monotonic() + REPAIRED_WITHIN_S
    while True:
        site = _site(instance)
        left = [*_look(site), *verdicts.find(site)]
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
