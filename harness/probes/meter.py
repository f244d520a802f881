"""``python -m harness.probes.meter``: what the machine does, twice a second, as JSON lines on stdout until stdin ends.

A process of its own, since what happens to the harness (a garbage collection, a long computation, its own want of a
processor) must not look like something that happened to the machine; in a session of its own, since Linux shares the
processor between sessions first. It is the harness' child, and ends with it: then its stdin does.

The first line is ``{"unread": {what: why}}``: what this machine does not show. Then ``{"t_s", "values"}`` with the
values of the half second before, and ``{"t_s", "late_ms"}`` at the worst wake-up of it, so that the time of a stall is
known: it ended then, and began ``late_ms`` before; and ``{"t_s", "own_cpu_s"}``: what it used itself. Times are on the
monotonic clock.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.probes.owners import Owners

NAP_S = 0.01
PERIOD_S = 0.5
#: Rounds of the fixed piece of work: a quarter of a millisecond on a core of 2020.
WORK_ROUNDS = 4000
#: Which of /proc/stat's columns are no work: idle, waiting for a disk, and what the hypervisor gave to others. What a
#: guest of ours uses is in the columns before them already, so it is not read.
_IDLE, _WAIT, _STEAL, _COLUMNS = 3, 4, 7, 8
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cpu:
    """Seconds of the processors that we may use, since boot."""

    count: int
    all_s: float
    busy_s: float
    steal_s: float


def cpu(text: str, allowed: set[int]) -> Cpu:
    """From the text of /proc/stat; of the processors in ``allowed``."""
    lines = (line.split() for line in text.splitlines() if line.startswith("cpu") and not line.startswith("cpu "))
    # Some sandboxes show fewer columns: what they leave out is nothing.
    rows = [
        [int(v) * _TICK_S for v in (*line[1:], *("0",) * _COLUMNS)[:_COLUMNS]]
        for line in lines
        if int(line[0][3:]) in allowed
    ]
    total = sum(map(sum, rows))
    steal = sum(row[_STEAL] for row in rows)
    return Cpu(len(rows), total, total - steal - sum(row[_IDLE] + row[_WAIT] for row in rows), steal)


def throttled_s(text: str) -> float | None:
    """From the text of a control group's cpu.stat, of either version; None where it has no quota to be held to."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name in ("throttled_time", "throttled_usec"):
            return int(value) / (1e9 if name == "throttled_time" else 1e6)
    return None


def psi_s(text: str) -> float | None:
    """Seconds in which some task waited for a processor, from /proc/pressure/cpu; None without that line."""
    some = next((line for line in text.splitlines() if line.startswith("some ")), "")
    return int(some.rpartition("total=")[2]) / 1e6 if "total=" in some else None


def cpu_groups(text: str, root: Path) -> list[Path]:
    """The cpu.stat files of our control group and those above it, from /proc/self/cgroup; either version."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        mounts = [root / "cpu,cpuacct", root / "cpu"] if "cpu" in controllers.split(",") else [root]
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in mounts:
            here = mount / path.lstrip("/")
            files = [folder / "cpu.stat" for folder in (here, *here.parents) if folder.is_relative_to(mount)]
            if found := [file for file in files if file.exists() and throttled_s(_read(file)) is not None]:
                return found
    return []


def work_s() -> float:
    """CPU seconds that the fixed piece of work takes: waiting for a processor is not in it, a slow one is."""
    before, x = time.thread_time_ns(), 1
    for _ in range(WORK_ROUNDS):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
    return (time.thread_time_ns() - before) / 1e9


@dataclass
class Meter:
    """Takes the samples. ``others``: whether what is not ours is somebody else's, and not the target's."""

    owners: Owners
    others: bool = True
    unread: dict[str, str] = field(default_factory=dict)
    _at_s: float = 0.0
    _cpu: Cpu = Cpu(0, 0.0, 0.0, 0.0)
    _psi_s: float | None = None
    _best_s: float = float("inf")

    def __post_init__(self) -> None:
        """Look at what can be read here."""
        self._groups = cpu_groups(_read(Path("/proc/self/cgroup")), Path("/sys/fs/cgroup"))
        if not self._groups:
            self.unread["throttled"] = "no control group above this process has a quota that could be seen"
        if psi_s(_read(Path("/proc/pressure/cpu"))) is None:
            self.unread["psi"] = "this kernel has no /proc/pressure/cpu"
        if not self.others:
            self.unread["others"] = "the target is not Drillyard's: nobody can tell its processes from others'"
        self.sample()

    def sample(self) -> dict[str, float]:
        """What happened since the sample before."""
        now_s, cpu_now = time.monotonic(), cpu(_read(Path("/proc/stat")), os.sched_getaffinity(0))
        period_s, spent = now_s - self._at_s, cpu_now.all_s - self._cpu.all_s
        used, psi = self.owners.look(period_s), psi_s(_read(Path("/proc/pressure/cpu")))
        work = min(work_s(), work_s())
        values = {"cores": float(cpu_now.count)}
        if work > 0:  # a coarse clock of the CPU shows nothing of it
            self._best_s = min(self._best_s, work)
            values["work_ratio"] = work / self._best_s
        held = [throttled_s(_read(file)) for file in self._groups]
        if held and None not in held:  # one that is missing once would look like a leap the next time
            values["throttled_s_total"] = sum(filter(None, held))
        if psi is not None and self._psi_s is not None:
            values["psi_cpu_some_ratio"] = min(1.0, (psi - self._psi_s) / period_s)
        if spent > 0 and cpu_now.count == self._cpu.count:
            share = cpu_now.count / spent  # of all ticks that were counted: a tick late is a tick late everywhere
            values["busy_cores"] = (cpu_now.busy_s - self._cpu.busy_s) * share
            values["steal_ratio"] = (cpu_now.steal_s - self._cpu.steal_s) / spent
            values["ours_cores"] = used.cpu_s / period_s
            if self.others:
                known = (used.cpu_s + used.unsure_s) / period_s
                values["others_cores"] = max(0.0, values["busy_cores"] - known)
        self._at_s, self._cpu, self._psi_s = now_s, cpu_now, psi
        return values


def watch(meter: Meter, tell: Callable[[dict[str, Any]], None], orders: Callable[[], bool]) -> None:
    """Nap, and tell, until ``orders`` says that nobody wants to know any more."""
    due_s, (worst_s, at_s) = time.monotonic() + PERIOD_S, (0.0, 0.0)
    before_s, used_s = time.monotonic(), time.thread_time()
    while True:
        time.sleep(NAP_S)
        now_s, now_used_s = time.monotonic(), time.thread_time()
        late_s = now_s - before_s - NAP_S - (now_used_s - used_s)
        if late_s > worst_s:
            worst_s, at_s = late_s, now_s
        before_s, used_s = now_s, now_used_s
        if now_s < due_s:
            continue
        if not orders():
            return
        tell({"t_s": at_s or now_s, "late_ms": 1000 * worst_s})
        values = meter.sample()
        tell({"t_s": time.monotonic(), "values": values})
        tell({"t_s": time.monotonic(), "own_cpu_s": time.process_time()})
        due_s, worst_s, at_s = max(due_s + PERIOD_S, now_s), 0.0, 0.0


def main() -> int:
    """Arguments: the stack's instance id or ``-``, and ``others`` or ``-``. Each line of stdin is a list of pids."""
    instance, others = sys.argv[1:3]
    owners = Owners(os.getppid(), None if instance == "-" else instance)
    pending = bytearray()

    def orders() -> bool:
        while select.select([0], [], [], 0)[0]:
            if not (data := os.read(0, 65536)):
                return False
            pending.extend(data)
        while b"\n" in pending:
            line, _, rest = bytes(pending).partition(b"\n")
            pending[:] = rest
            if (pids := json.loads(line)) and not owners.declare(pids):
                meter.others = False
                tell({"unread": {"others": "the stack's containers are not among the processes of this host"}})
        return True

    def tell(what: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()

    meter = Meter(owners, others == "others")
    tell({"unread": meter.unread})
    watch(meter, tell, orders)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    try:
        status = main()
    except (BrokenPipeError, KeyboardInterrupt):  # the harness has gone
        status = 0
    os._exit(status)
