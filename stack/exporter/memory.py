"""Memory that is left, and what the kernel killed for it: read when Prometheus asks.

``scope="machine"`` is the whole machine; ``scope="cgroup"`` is the tightest limit of the control groups that this
process, and in the process runtime everything else of the stack, lives in. What cannot be read has no series.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Memory(NamedTuple):
    """Bytes."""

    total: int
    available: int


class MemoryCollector(Collector):
    """``drillyard_memory_*`` and ``drillyard_oom_kills_total``. ``groups``: look at this process' own cgroups, too."""

    def __init__(self, groups: bool, proc: Path = Path("/proc"), mount: Path = Path("/sys/fs/cgroup")) -> None:
        self._groups, self._proc, self._mount = groups, proc, mount

    def collect(self) -> Iterator[Metric]:
        """What is true now."""
        total = GaugeMetricFamily("drillyard_memory_total_bytes", "Memory that there is", labels=["scope"])
        available = GaugeMetricFamily(
            "drillyard_memory_available_bytes", "Memory that can be had without swapping", labels=["scope"]
        )
        for scope, found in (("machine", self._machine()), ("cgroup", self._group() if self._groups else None)):
            if found is not None:
                total.add_metric([scope], found.total)
                available.add_metric([scope], found.available)
        yield from (total, available)
        if (kills := _number(self._proc / "vmstat", r"^oom_kill (\d+)$")) is not None:
            yield CounterMetricFamily("drillyard_oom_kills", "Processes of this machine killed for memory", kills)

    def _machine(self) -> Memory | None:
        total = _number(self._proc / "meminfo", r"^MemTotal: +(\d+) kB$")
        available = _number(self._proc / "meminfo", r"^MemAvailable: +(\d+) kB$")
        return None if total is None or available is None else Memory(total * 1024, available * 1024)

    def _group(self) -> Memory | None:
        """Of the groups above this process, the one with least left; None when none is limited."""
        machine = self._machine()
        found = [
            memory
            for folder, files in self._groups_of_this_process()
            if (memory := files.memory(folder)) is not None and (machine is None or memory.total < machine.total)
        ]
        return min(found, key=lambda memory: memory.available, default=None)

    def _groups_of_this_process(self) -> Iterator[tuple[Path, _GroupFiles]]:
        """The process' own group and those above it, in both versions of cgroups."""
        for prefix, root, files in (
            ("0::", self._mount, _VERSION_2),
            (r"\d+:memory:", self._mount / "memory", _VERSION_1),
        ):
            own = re.search(rf"^{prefix}/(.*)$", _read(self._proc / "self/cgroup"), re.MULTILINE)
            if own is not None:
                lowest = root / own[1]
                yield from ((folder, files) for folder in (lowest, *lowest.parents) if folder.is_relative_to(root))


class _GroupFiles(NamedTuple):
    """What a version of cgroups calls its files, and what it calls the page cache that can be dropped."""

    limit: str
    usage: str
    cache: str

    def memory(self, folder: Path) -> Memory | None:
        """Of that group; None when it has no limit or cannot be read."""
        limit, usage = (_number(folder / name, r"^(\d+)$") for name in (self.limit, self.usage))
        if limit is None or usage is None:
            return None
        cache = _number(folder / "memory.stat", rf"^{self.cache} (\d+)$") or 0
        return Memory(limit, max(limit - usage + cache, 0))


_VERSION_2 = _GroupFiles("memory.max", "memory.current", "inactive_file")
_VERSION_1 = _GroupFiles("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _number(path: Path, pattern: str) -> int | None:
    found = re.search(pattern, _read(path), re.MULTILINE)
    return None if found is None else int(found[1])


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
