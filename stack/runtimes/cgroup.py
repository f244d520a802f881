"""What a container uses, from the daemon's statistics and, where this host is the daemon's, from its cgroup files.

Both cgroup versions name things differently; here they become one. What cannot be read is None, never 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stack.runtimes.base import ComponentStats

PROC = Path("/proc")
CGROUP_ROOT = Path("/sys/fs/cgroup")
#: Where the daemon's cgroup drivers put a container: version 1 or 2, made by systemd or by the daemon itself.
_CONTAINER_FOLDERS = (
    "system.slice/docker-{}.scope",
    "docker/{}",
    "memory/system.slice/docker-{}.scope",
    "memory/docker/{}",
)


@dataclass(frozen=True)
class Counts:
    """What the kernel did about a cgroup's memory limit since the group was made. None where it cannot be read."""

    oom_kills: int | None = None  # processes it killed
    limit_hits: int | None = None  # times that memory beyond the limit was asked for


def statistics(container_id: str) -> dict[str, Any] | None:
    """The part of Docker's statistics that matters here, from the cgroup's own files: the daemon looks once a second
    and lets whoever asks wait until then. None where this host is not the daemon's, or the container does not run."""
    for pattern in _CONTAINER_FOLDERS:
        folder = CGROUP_ROOT / pattern.format(container_id)
        used = _table(folder / "memory.stat")
        charged = _read(folder / "memory.current") or _read(folder / "memory.usage_in_bytes")
        accounted = CGROUP_ROOT / pattern.format(container_id).replace("memory/", "cpuacct/", 1)
        nanoseconds = _read(accounted / "cpuacct.usage") or 1000 * _table(folder / "cpu.stat").get("usage_usec", 0)
        if used and charged and nanoseconds:
            return {
                "memory_stats": {"stats": used, "usage": int(charged)},
                "cpu_stats": {"cpu_usage": {"total_usage": int(nanoseconds)}},
            }
    return None


def stats(raw: Mapping[str, Any], counted: Counts = Counts()) -> ComponentStats:
    """``raw`` is one answer of Docker's stats endpoint; a container that does not run has empty parts."""
    used = raw.get("memory_stats", {}).get("stats", {})
    nanoseconds = raw.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage")
    running = bool(used) and bool(nanoseconds)
    return ComponentStats(
        rss_bytes=_resident(used) if running else None,
        cpu_s=nanoseconds / 1e9 if running and nanoseconds else None,
        oom_kills=counted.oom_kills,
        charged_bytes=_held(raw["memory_stats"]) if running else None,
        limit_hits=counted.limit_hits,
    )


def _resident(used: Mapping[str, int]) -> int | None:
    """Memory of the processes themselves with the files they have mapped; page cache is left out."""
    if "anon" in used:  # version 2
        return used["anon"] + used.get("file_mapped", 0)
    if "total_rss" in used:  # version 1
        return used["total_rss"] + used.get("total_mapped_file", 0)
    return None


def _held(memory: Mapping[str, Any]) -> int | None:
    """What counts against the limit, less the files in its cache: those the kernel drops before it kills anybody."""
    used, charged = memory["stats"], memory.get("usage")
    prefix = "" if "anon" in used else "total_"
    cached = [used.get(f"{prefix}{how}_file") for how in ("active", "inactive")]
    return None if charged is None or None in cached else charged - sum(cached)


def belongs_to(pid: int, container_id: str) -> bool:
    """Whether ``pid`` on this host is a process of that container (a daemon elsewhere has other pids)."""
    return container_id in _read(PROC / str(pid) / "cgroup")


def of_container(container_id: str) -> Counts:
    """The counts of a container since its last start; None each where this host is not the daemon's."""
    for pattern in _CONTAINER_FOLDERS:
        found = counts(CGROUP_ROOT / pattern.format(container_id))
        if found.oom_kills is not None:
            return found
    return Counts()


def counts(folder: Path) -> Counts:
    """The counts of one memory cgroup, of either version."""
    events = _read(folder / "memory.events") or _read(folder / "memory.oom_control")
    kills = re.search(r"^oom_kill (\d+)$", events, re.MULTILINE)
    hits = re.search(r"^max (\d+)$", events, re.MULTILINE) or re.match(r"(\d+)", _read(folder / "memory.failcnt"))
    return Counts(int(kills[1]) if kills else None, int(hits[1]) if hits else None)


def _table(path: Path) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in _read(path).splitlines())}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
