"""Figures of containers, in both cgroup versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stack.runtimes import cgroup
from stack.runtimes.base import ComponentStats

ID = "4f" * 32


def raw(**used: int) -> dict[str, Any]:
    """One answer of Docker's stats endpoint, what is read of it."""
    return {"memory_stats": {"stats": used, "usage": 9999}, "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}}}


@pytest.mark.parametrize(
    "used",
    [
        {"total_rss": 300, "total_mapped_file": 20, "total_active_file": 4000, "total_inactive_file": 900, "rss": 1},
        {"anon": 300, "file_mapped": 20, "active_file": 4000, "inactive_file": 900},
    ],
    ids=["v1", "v2"],
)
def test_memory_is_the_processes_own(used: dict[str, int]) -> None:
    """Page cache is none of it, in either version, and none of what a limit runs into; CPU comes in seconds."""
    assert cgroup.stats(raw(**used), cgroup.Counts(1, 7)) == ComponentStats(320, 2.5, 1, 9999 - 4900, 7)


def test_a_cache_that_is_not_told_is_not_zero() -> None:
    """Without the size of the cache nobody knows what the kernel can drop."""
    assert cgroup.stats(raw(total_rss=300)).charged_bytes is None


@pytest.mark.parametrize(
    "answer",
    [{}, {"memory_stats": {}, "cpu_stats": {"cpu_usage": {"total_usage": 0}}}],
    ids=["empty", "stopped"],
)
def test_what_does_not_run_has_no_figures(answer: dict[str, Any]) -> None:
    """None, not 0: a stopped replica does not use «no memory»."""
    assert cgroup.stats(answer) == ComponentStats(None, None, None)


@pytest.mark.parametrize(
    "files",
    [
        {
            f"memory/docker/{ID}/memory.stat": "total_rss 300\ntotal_mapped_file 20\n",
            f"memory/docker/{ID}/memory.usage_in_bytes": "9999\n",
            f"cpuacct/docker/{ID}/cpuacct.usage": "2500000000\n",
        },
        {
            f"system.slice/docker-{ID}.scope/memory.stat": "anon 300\nfile_mapped 20\n",
            f"system.slice/docker-{ID}.scope/memory.current": "9999\n",
            f"system.slice/docker-{ID}.scope/cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        },
    ],
    ids=["v1", "v2"],
)
def test_the_files_say_what_the_daemon_would(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And at once; a container without them is one that does not run, or one of a daemon elsewhere."""
    monkeypatch.setattr(cgroup, "CGROUP_ROOT", tmp_path)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = cgroup.statistics(ID)
    assert found is not None
    assert found["memory_stats"]["usage"] == 9999
    assert cgroup.stats(found).rss_bytes == 320
    assert cgroup.stats(found).cpu_s == 2.5
    assert cgroup.statistics("0" * 64) is None


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        (
            f"memory/docker/{ID}",
            {"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", "memory.failcnt": "9\n"},
        ),
        (
            f"system.slice/docker-{ID}.scope",
            {"memory.events": "low 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n"},
        ),
    ],
    ids=["v1", "v2"],
)
def test_oom_kills_and_refusals_are_counted_by_the_kernel(
    folder: str, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`oom` or `oom_kill_disable` are other things."""
    monkeypatch.setattr(cgroup, "CGROUP_ROOT", tmp_path)
    (tmp_path / folder).mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / folder / name).write_text(text)
    assert cgroup.of_container(ID) == cgroup.Counts(oom_kills=2, limit_hits=9)
    assert cgroup.of_container("0" * 64) == cgroup.Counts(None, None)


def test_a_pid_of_another_machine_is_not_taken_for_the_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a daemon elsewhere the same number is some other process here."""
    monkeypatch.setattr(cgroup, "PROC", tmp_path)
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "cgroup").write_text(f"12:memory:/docker/{ID}\n")
    (tmp_path / "78").mkdir()
    (tmp_path / "78" / "cgroup").write_text("0::/user.slice/session-1.scope\n")
    assert [cgroup.belongs_to(pid, ID) for pid in (77, 78, 79)] == [True, False, False]
