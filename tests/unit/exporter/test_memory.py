"""What the exporter reads about memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from stack.exporter.memory import MemoryCollector

KB = 1024
V2 = {"memory.max": "500000", "memory.current": "400000", "memory.stat": "anon 1\ninactive_file 150000\n"}
V1 = {
    "memory.limit_in_bytes": "500000",
    "memory.usage_in_bytes": "400000",
    "memory.stat": "cache 9\ntotal_inactive_file 150000\n",
}


def write(folder: Path, files: dict[str, str]) -> None:
    """Files as the kernel shows them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n" if not text.endswith("\n") else text)


def registry(tmp_path: Path, own: str = "0::/", groups: bool = True, killed: str = "oom_kill 3") -> CollectorRegistry:
    """The series of a machine of 1,000 kB, 600 kB of them available."""
    write(
        tmp_path / "proc", {"meminfo": "MemTotal:  1000 kB\nMemFree:  1 kB\nMemAvailable:   600 kB\n", "vmstat": killed}
    )
    write(tmp_path / "proc/self", {"cgroup": own})
    found = CollectorRegistry()
    found.register(MemoryCollector(groups, tmp_path / "proc", tmp_path / "cgroup"))
    return found


def available(found: CollectorRegistry, scope: str) -> float | None:
    """The series of that scope; None when there is none."""
    return found.get_sample_value("drillyard_memory_available_bytes", {"scope": scope})


def test_machine(tmp_path: Path) -> None:
    """Total, available, and what the kernel killed so far."""
    found = registry(tmp_path)
    assert available(found, "machine") == 600 * KB
    assert found.get_sample_value("drillyard_memory_total_bytes", {"scope": "machine"}) == 1000 * KB
    assert found.get_sample_value("drillyard_oom_kills_total") == 3
    assert available(found, "cgroup") is None


@pytest.mark.parametrize(
    ("own", "place", "files"),
    [
        ("0::/a/b", "a", V2),
        ("0::/", "", V2),
        ("12:cpu:/x\n9:memory:/a\n0::/", "memory/a", V1),
        ("0::/a/b", "a/b", V2 | {"memory.max": "600000", "memory.current": "500000"}),
    ],
)
def test_limit_of_a_group_above(own: str, place: str, files: dict[str, str], tmp_path: Path) -> None:
    """In both versions, wherever the limit is set; cache that can be dropped counts as available."""
    write(tmp_path / "cgroup" / place, files)
    assert available(registry(tmp_path, own), "cgroup") == 250_000


def test_no_limit_no_series(tmp_path: Path) -> None:
    """Unlimited, and limited to more than there is, are no limits; a container's own group is not the stack's."""
    write(tmp_path / "cgroup", V2 | {"memory.max": "max"})
    assert available(registry(tmp_path), "cgroup") is None
    write(tmp_path / "cgroup", V2 | {"memory.max": str(1001 * KB)})
    assert available(registry(tmp_path), "cgroup") is None
    write(tmp_path / "cgroup", V2)
    assert available(registry(tmp_path, groups=False), "cgroup") is None


def test_what_cannot_be_read_is_no_zero(tmp_path: Path) -> None:
    """An old kernel counts no kills: no series."""
    assert registry(tmp_path, killed="pgfault 1").get_sample_value("drillyard_oom_kills_total") is None
    empty = CollectorRegistry()
    empty.register(MemoryCollector(True, tmp_path / "nothing", tmp_path / "cgroup"))
    assert available(empty, "machine") is None
