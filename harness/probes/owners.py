"""Whose CPU seconds are whose: which processes of this host this run's stack, harness and load have ever started.

Ours is a process that descends from the harness, carries the instance id of the stack in its environment, lies in the
control group of one of the stack's containers, belongs to the container engine where there are such containers, or is
in a process group that one of ours leads. Once ours it stays ours, whoever adopts it. A pid counts together with its
start time.

What ours have used is the sum over the living ones of what the kernel says of each, *its collected children included*:
when a parent collects a child, the child's seconds move from one addend to the other, so that none is lost or counted
twice, however short the child lived. What a stranger collects (an orphan ends, and init buries it) is kept here as it
was last seen; what it used after that, for less than a period, nobody knows: ``Used.unsure_s``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stack import state

VARIABLE = f"{state.INSTANCE_VARIABLE}=".encode()
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_STAT_BYTES = 4096
_CONTAINER = re.compile(r"[0-9a-f]{64}")
#: The container engine's own processes, by the names that the kernel gives them. They forward every request that comes
#: from the host and start every health check: beside declared containers they work for the stack, and what they do for
#: the containers of others cannot be told apart.
_ENGINE = frozenset({"dockerd", "containerd", "containerd-shim", "docker-proxy", "runc"})


class Stat(NamedTuple):
    """What /proc/PID/stat says; times in seconds of CPU, the start in ticks since boot."""

    parent: int
    group: int
    start: int
    own_s: float
    children_s: float  # of those that it has collected

    @property
    def total_s(self) -> float:
        """Its own and its collected children's."""
        return self.own_s + self.children_s


@dataclass(frozen=True)
class Used:
    """CPU seconds of ours since the look before, and how many more they may have been."""

    cpu_s: float
    unsure_s: float


def parse(text: str) -> Stat:
    """One line of /proc/PID/stat. ValueError or IndexError when it is none."""
    fields = text.rpartition(")")[2].split()
    own, children = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    return Stat(int(fields[1]), int(fields[2]), int(fields[19]), own * _TICK_S, children * _TICK_S)


class Owners:
    """Looks at ``proc`` whenever it is asked; ``root`` the harness' pid, ``instance`` its stack's id, if any."""

    def __init__(self, root: int, instance: str | None, proc: Path = Path("/proc")) -> None:
        self._proc, self._root = proc, root
        self._mark = VARIABLE + instance.encode() + b"\0" if instance else None
        self._ours: dict[int, Stat] = {}
        self._strangers: set[int] = set()
        self._groups: set[int] = set()
        self._containers: set[str] = set()
        self._engine: set[int] = set()  # of ours: what descends from them is not ours for that
        self._sum_s: float | None = None  # of the look before; None before the first
        self._departed_s = 0.0  # collected by strangers, less what was used before it was known to be ours
        self._newest = 0  # start of the youngest process that was ever looked at
        self.look(0.0)

    def declare(self, pids: Iterable[int]) -> bool:
        """The containers of these processes are the stack's: all that runs in them is ours.

        Whether any of them is seen here: the daemon may be on another machine, or we in a container ourselves.
        """
        found = {text for pid in pids for text in _CONTAINER.findall(self._text(pid, "cgroup"))}
        if found - self._containers:
            self._containers |= found
            self._strangers.clear()  # each is looked at again
        return bool(found)

    def look(self, period_s: float) -> Used:
        """What ours have used since the last look, ``period_s`` ago."""
        listed = {int(name) for name in os.listdir(self._proc) if name.isdigit()}
        before = self._ours
        self._strangers &= listed
        self._ours = {pid: now for pid in before.keys() & listed if (now := self._same(pid, before[pid])) is not None}
        self._engine &= self._ours.keys()
        unsure = self._bury(before)
        self._welcome(listed - self._ours.keys() - self._strangers)
        total = sum(stat.total_s for stat in self._ours.values()) + self._departed_s
        used = 0.0 if self._sum_s is None else max(0.0, total - self._sum_s)
        self._sum_s = total
        return Used(used, unsure * period_s)

    def _same(self, pid: int, before: Stat) -> Stat | None:
        now = self._stat(pid)
        return now if now is not None and now.start == before.start else None

    def _bury(self, before: dict[int, Stat]) -> int:
        """Account for those that have gone; how many a stranger has collected."""
        expected: dict[int, float] = {}
        lost = 0
        for pid in before.keys() - self._ours.keys():
            heir = before[pid].parent
            while heir in before and heir not in self._ours:
                heir = before[heir].parent
            if heir in self._ours:
                expected[heir] = expected.get(heir, 0.0) + before[pid].total_s
            else:
                self._departed_s += before[pid].total_s
                lost += 1
        for heir, due_s in expected.items():
            # An orphan among them went to a stranger: then its heir's children cannot have grown by all of it.
            missing_s = due_s - (self._ours[heir].children_s - before[heir].children_s)
            if missing_s > _TICK_S:
                self._departed_s += missing_s
                lost += 1
        return lost

    def _welcome(self, fresh: set[int]) -> None:
        """Sort those that were not seen before; a parent may be among them, so until nothing changes."""
        unsorted = {pid: stat for pid in fresh if (stat := self._stat(pid)) is not None}
        newest = max((stat.start for stat in unsorted.values()), default=0)
        while ours := [pid for pid, stat in unsorted.items() if self._is_ours(pid, stat)]:
            for pid in ours:
                stat = self._ours[pid] = unsorted.pop(pid)
                if stat.group == pid and pid not in self._engine:
                    self._groups.add(pid)
                if stat.start <= self._newest or self._sum_s is None:  # it lived before it was known
                    self._departed_s -= stat.total_s
        for pid in unsorted:
            self._groups.discard(pid)  # a stranger's pid by now
        self._strangers |= unsorted.keys()
        self._newest = max(self._newest, newest)

    def _is_ours(self, pid: int, stat: Stat) -> bool:
        descends = stat.parent in self._ours and stat.parent not in self._engine
        if pid == self._root or descends or (stat.group != pid and stat.group in self._groups):
            return True
        if self._mark is not None and self._mark in self._bytes(pid, "environ") + b"\0":
            return True
        if not self._containers:
            return False
        if self._text(pid, "comm").strip() in _ENGINE:
            self._engine.add(pid)
            return True
        return bool(self._containers & set(_CONTAINER.findall(self._text(pid, "cgroup"))))

    def _stat(self, pid: int) -> Stat | None:
        # Not with pathlib, which costs more than the kernel's part: this is read for each of ours twice a second.
        try:
            file = os.open(f"{self._proc}/{pid}/stat", os.O_RDONLY)
        except OSError:
            return None
        try:
            return parse(os.read(file, _STAT_BYTES).decode(errors="replace"))
        except (OSError, ValueError, IndexError):  # it has just ended
            return None
        finally:
            os.close(file)

    def _text(self, pid: int, name: str) -> str:
        return self._bytes(pid, name).decode(errors="replace")

    def _bytes(self, pid: int, name: str) -> bytes:
        try:
            return (self._proc / str(pid) / name).read_bytes()
        except OSError:  # it has just ended, or is another user's
            return b""
