"""What a container uses, from the daemon's statistics and, where this host is the daemon's, from its cgroup files.

Both cgroup versions name things differently; here they become one. What cannot be read is None, never 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stack.runtimes.base import ComponentStats

PROC = Path("/proc")
CGROUP_ROOT = Path("/sys/fs/cgroup")
#: Where the daemon's cgroup drivers put a container: version 1 or 2, made by systemd or by the daemon itself.
_EVENT_FILES = (
    "system.slice/docker-{}.scope/memory.events",
    "docker/{}/memory.events",
    "memory/system.slice/docker-{}.scope/memory.oom_control",
    "memory/docker/{}/memory.oom_control",
)


def stats(raw: Mapping[str, Any], oom_kills: int | None = None) -> ComponentStats:
    """``raw`` is one answer of Docker's stats endpoint; a container that does not run has empty parts."""
    used = raw.get("memory_stats", {}).get("stats", {})
    nanoseconds = raw.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage")
    running = bool(used) and bool(nanoseconds)
    return ComponentStats(
        rss_bytes=_resident(used) if running else None,
        cpu_s=nanoseconds / 1e9 if running and nanoseconds else None,
        oom_kills=oom_kills,
    )


def _resident(used: Mapping[str, int]) -> int | None:
    """Memory of the processes themselves with the files they have mapped; page cache is left out."""
    if "anon" in used:  # version 2
        return used["anon"] + used.get("file_mapped", 0)
    if "total_rss" in used:  # version 1
        return used["total_rss"] + used.get("total_mapped_file", 0)
    return None


def belongs_to(pid: int, container_id: str) -> bool:
    """Whether ``pid`` on this host is a process of that container (a daemon elsewhere has other pids)."""
    return container_id in _read(PROC / str(pid) / "cgroup")


def oom_kills(container_id: str) -> int | None:
    """Processes that the kernel killed for memory in the container since its last start; None where unreadable."""
    for pattern in _EVENT_FILES:
        found = re.search(r"^oom_kill (\d+)$", _read(CGROUP_ROOT / pattern.format(container_id)), re.MULTILINE)
        if found:
            return int(found[1])
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
