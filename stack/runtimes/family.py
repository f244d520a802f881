"""Processes of this host: which ones are ours, all of a component's at once, signals to them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from harness.model.errors import StackError
from stack.state import INSTANCE_VARIABLE, ProcessMark

_FROZEN_WITHIN_S = 5.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def mark(pid: int) -> ProcessMark:
    """What tells the process ``pid`` from every other, before and after. StackError when it is gone."""
    if (stat := _stat(pid)) is None:
        raise StackError(f"process {pid} is gone")
    return ProcessMark(pid, _BOOT_ID.read_text().strip(), stat.start_ticks)


def marked(known: ProcessMark) -> psutil.Process | None:
    """The live process that ``known`` names; None when it is gone or its pid is somebody else's by now."""
    with suppress(psutil.Error, StackError):
        process = psutil.Process(known.pid)  # whatever is done with it is done to this one, or to none
        return process if mark(known.pid) == known and alive(process) else None
    return None


def alive(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and is not collected by its parent does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def instance_of(process: psutil.Process) -> str | None:
    """The instance id in the process' environment; None where there is none or it cannot be read."""
    try:
        return process.environ().get(INSTANCE_VARIABLE)
    except (psutil.Error, OSError):
        return None


def of_instance(instance_id: str) -> list[psutil.Process]:
    """Every process that carries this instance id, with its process group and its descendants.

    A process may overwrite its environment (to change its title), so lineage counts as proof too.
    """
    everything = [process for process in psutil.process_iter() if alive(process)]
    proven = {process.pid for process in everything if instance_of(process) == instance_id}
    groups = {group for pid in proven if (group := _group(pid)) in proven}
    found = {p.pid: p for p in everything if p.pid in proven or _group(p.pid) in groups}
    for process in list(found.values()):
        found.update({child.pid: child for child in tree(process.pid)})
    found.pop(os.getpid(), None)
    return list(found.values())


def tree(pid: int) -> list[psutil.Process]:
    """The process and all its descendants, parent first; empty when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


class Used(NamedTuple):
    """What processes use."""

    rss_bytes: int
    cpu_s: float  # since they began


class _Stat(NamedTuple):
    """A line of the process table."""

    state: str  # one letter, see proc(5)
    parent: int
    start_ticks: int  # since the boot
    used: Used


def used_by_trees(pids: Collection[int]) -> dict[int, Used]:
    """What each of these processes and its descendants use together, from one pass over the process table.

    Processes that are gone are left out. psutil would make a pass for each of them.
    """
    table, children = dict[int, _Stat](), dict[int, list[int]]()
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        if (stat := _stat(pid)) is not None:
            table[pid] = stat
            children.setdefault(stat.parent, []).append(pid)
    found = {}
    for pid in table.keys() & set(pids):
        family, size = [pid], 0
        while size < len(family):
            family += children.get(family[size], ())
            size += 1
        used = [table[member].used for member in family]
        found[pid] = Used(sum(one.rss_bytes for one in used), sum(one.cpu_s for one in used))
    return found


def incarnation(pid: int) -> str | None:
    """The process ``pid`` as no later one can be called: with the clock tick of its start; None when it is gone."""
    stat = _stat(pid)
    return None if stat is None else f"{pid}@{stat.start_ticks}"


def is_stopped(pid: int) -> bool:
    """Whether the process was stopped by a signal; one that is gone was not."""
    stat = _stat(pid)
    return stat is not None and stat.state == "T"


def _stat(pid: int) -> _Stat | None:
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        line = os.read(file, 4096)
    except ProcessLookupError:  # it ended between the two
        return None
    finally:
        os.close(file)
    fields = line[line.rfind(b")") + 2 :].split()  # its name may hold anything; after it comes the third field
    used = Used(int(fields[21]) * _PAGE_BYTES, (int(fields[11]) + int(fields[12])) / _TICKS_PER_S)
    return _Stat(fields[0].decode(), int(fields[1]), int(fields[19]), used)


def component_processes(pid: int) -> list[psutil.Process]:
    """A component's processes: its tree and its process group (orphans stay in the group)."""
    found = {process.pid: process for process in tree(pid)}
    for process in psutil.process_iter():
        if process.pid not in found and _group(process.pid) == pid and alive(process):
            found[process.pid] = process
    return list(found.values())


def stopped_in(pid: int | None) -> list[int]:
    """Pids of those of a component's processes that are stopped (SIGSTOP), given its main one; of none, none."""
    stopped = []
    for process in tree(pid) if pid is not None else []:
        with suppress(psutil.Error):  # it ended between the listing and the question
            if process.status() == psutil.STATUS_STOPPED:
                stopped.append(process.pid)
    return stopped


#: Title that vLLM gives the process in which its engine runs; and how that was started, where it may not change titles.
_ENGINE_CORE, _SPAWNED = "VLLM::EngineCore", "multiprocessing.spawn import spawn_main"


def is_engine_core(arguments: str) -> bool:
    """Whether a process with that command line is the engine behind vLLM's API server."""
    return arguments.startswith(_ENGINE_CORE) or _SPAWNED in arguments


def signal_all(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each; those that have ended meanwhile do not matter."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def freeze(processes: Callable[[], Iterable[psutil.Process]]) -> None:
    """SIGSTOP all of ``processes`` until none has appeared meanwhile, and wait until each has stopped.

    The kernel gives the signal to one thread of a process, and the others work on until that one has had a processor.
    """
    stopped: set[int] = set()
    while fresh := [process for process in processes() if process.pid not in stopped]:
        signal_all(fresh, signal.SIGSTOP)
        stopped |= {process.pid for process in fresh}
    deadline = time.monotonic() + _FROZEN_WITHIN_S
    while not all(is_frozen(pid) for pid in stopped):
        if time.monotonic() > deadline:
            raise StackError(f"processes {sorted(stopped)} have not stopped {_FROZEN_WITHIN_S:.0f} s after SIGSTOP")
        time.sleep(0.01)


def is_frozen(pid: int) -> bool:
    """Whether no thread of that process does anything: each is stopped, or has ended."""
    return set(_thread_states(pid)) <= {"T", "t", "Z", "X"}


def _thread_states(pid: int) -> Iterator[str]:
    for status in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # it has just ended
            yield status.read_text().rpartition(")")[2].split()[0]


def end(processes: list[psutil.Process], grace_s: float) -> list[psutil.Process]:
    """SIGTERM (and SIGCONT, so that frozen ones can obey), SIGKILL after ``grace_s``. Returns who is alive still."""
    signal_all(processes, signal.SIGTERM)
    signal_all(processes, signal.SIGCONT)
    left = wait_gone(processes, grace_s)
    signal_all(left, signal.SIGKILL)
    return wait_gone(left, 5.0)


def wait_gone(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait until all have ended; those that have not after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while (left := [process for process in processes if alive(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None
