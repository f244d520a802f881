"""Memory limits for processes of this host: a cgroup of our own per component, version 1 or 2.

It can be made where the folder beside the supervisor's own cgroup may be written: as root, or where somebody has handed
it over. A cgroup counts what its processes ask for from the moment that they are in it; what they had before stays on
another account. A component that was started again is in its supervisor's cgroup again, without a limit.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from harness.model.errors import StackError, UsageError
from stack.runtimes import cgroup

#: Version 1 has no word for «no limit», only a number that no machine has.
_NO_LIMIT = 2**60
_REMOVED_WITHIN_S = 2.0


class MemoryGroup:
    """The memory cgroup called ``name`` of processes that ``supervisor`` (a pid) has started; not made here."""

    def __init__(self, supervisor: int, name: str) -> None:
        self._home, self._v1 = _cgroup_of(supervisor)
        self._folder = (self._home if self._v1 else _delegating(self._home)) / name
        self._limit_file = self._folder / ("memory.limit_in_bytes" if self._v1 else "memory.max")
        self._swap_file = self._folder / ("memory.swappiness" if self._v1 else "memory.swap.max")

    def limit(self, limit_bytes: int, pids: Callable[[], Iterable[int]]) -> None:
        """Limit all of ``pids``, and their children to come. UsageError where no group can be made."""
        had = self._folder.exists()
        try:
            self._folder.mkdir(exist_ok=True)
            self._limit_file.write_text(str(limit_bytes))
            self._swap_file.write_text("0")
            self._take(pids)
        except OSError as error:
            if not had:
                self.release()
            if error.errno == errno.EBUSY:
                raise StackError(f"memory cannot be limited to {limit_bytes} bytes: more is in use") from error
            raise UsageError(
                f"memory of processes can be limited only where cgroups can be made, as root for example, and "
                f"{self._folder} cannot ({error.strerror}): use RUNTIME=docker"
            ) from error
        if not 0 <= limit_bytes - (self.in_force() or 0) < os.sysconf("SC_PAGE_SIZE"):
            raise StackError(f"memory was to be limited to {limit_bytes} bytes, the kernel says {self.in_force()}")

    def holds(self, pid: int) -> bool:
        """Whether that process is in the group."""
        return str(pid) in _read(self._folder / "cgroup.procs").split()

    def in_force(self) -> int | None:
        """The limit in bytes; None without one."""
        text = _read(self._limit_file)
        return int(text) if text.isdigit() and int(text) < _NO_LIMIT else None

    def charged_bytes(self) -> int:
        """What counts against the limit now; nothing while the group is not made."""
        text = _read(self._folder / ("memory.usage_in_bytes" if self._v1 else "memory.current"))
        return int(text) if text else 0

    def counts(self) -> cgroup.Counts:
        """What the kernel had to do about it so far."""
        return cgroup.counts(self._folder)

    def release(self) -> None:
        """Let everybody go, without a limit, and remove the group; harmless when there is none."""
        if not self._folder.exists():
            return
        with suppress(OSError):  # whoever leaves is free of it as well
            self._limit_file.write_text("-1" if self._v1 else "max")
        for pid in _read(self._folder / "cgroup.procs").split():
            with suppress(ProcessLookupError):
                (self._home / "cgroup.procs").write_text(pid)
        _remove(self._folder)

    def _take(self, pids: Callable[[], Iterable[int]]) -> None:
        """Move the processes in, until no new child has appeared meanwhile."""
        taken: set[int] = set()
        while fresh := set(pids()) - taken:
            for pid in fresh:
                with suppress(ProcessLookupError):
                    (self._folder / "cgroup.procs").write_text(str(pid))
            taken |= fresh


def group_name(instance_id: str, component: str) -> str:
    """What the group of a component is called."""
    return f"drillyard-{instance_id}-{component}"


def remove_all(instance_id: str) -> None:
    """Remove every group of an instance; their processes have ended."""
    for folder in cgroup.CGROUP_ROOT.rglob(group_name(instance_id, "*")):
        _remove(folder)


def _cgroup_of(pid: int) -> tuple[Path, bool]:
    """The folder of the memory cgroup that a process is in, and whether it is one of version 1."""
    lines = [line.split(":", 2) for line in _read(cgroup.PROC / str(pid) / "cgroup").splitlines()]
    for _, controllers, path in lines:
        if "memory" in controllers.split(","):
            return cgroup.CGROUP_ROOT / "memory" / path.lstrip("/"), True
    unified = next((path for number, _, path in lines if number == "0"), "/")
    return cgroup.CGROUP_ROOT / unified.lstrip("/"), False


def _delegating(folder: Path) -> Path:
    """The nearest cgroup of version 2 whose children may have memory limits: one with processes in it may not."""
    return next((f for f in (folder, *folder.parents) if "memory" in _read(f / "cgroup.subtree_control")), folder)


def _remove(folder: Path) -> None:
    """Remove an empty group; what has just ended may hold it for a moment."""
    deadline = time.monotonic() + _REMOVED_WITHIN_S
    while True:
        try:
            return folder.rmdir()
        except FileNotFoundError:
            return None
        except OSError as error:
            if time.monotonic() > deadline:
                raise StackError(f"{folder} cannot be removed: {error.strerror}") from error
        time.sleep(0.05)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
