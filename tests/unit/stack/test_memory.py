"""Where a memory cgroup of our own is made and what is written there, in both cgroup versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.model.errors import StackError, UsageError
from stack.runtimes import cgroup, memory

SUPERVISOR = 77
LIMIT = 64 * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /proc and /sys/fs/cgroup."""
    monkeypatch.setattr(cgroup, "PROC", tmp_path / "proc")
    monkeypatch.setattr(cgroup, "CGROUP_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_REMOVED_WITHIN_S", 0.0)
    (tmp_path / "proc" / str(SUPERVISOR)).mkdir(parents=True)
    return tmp_path


def supervisor_in(root: Path, line: str, folder: str) -> Path:
    """Puts the supervisor into a cgroup; returns its folder."""
    (root / "proc" / str(SUPERVISOR) / "cgroup").write_text(f"3:cpu:/elsewhere\n{line}\n")
    (root / "cgroup" / folder).mkdir(parents=True)
    return root / "cgroup" / folder


def test_version_1_is_below_the_supervisors_own(root: Path) -> None:
    """Limits that the supervisor itself is under stay in force."""
    home = supervisor_in(root, "4:memory:/user/abc", "memory/user/abc")
    memory.MemoryGroup(SUPERVISOR, "ours").limit(LIMIT, lambda: [5])
    assert (home / "ours" / "memory.limit_in_bytes").read_text() == str(LIMIT)
    assert (home / "ours" / "memory.swappiness").read_text() == "0"
    assert (home / "ours" / "cgroup.procs").read_text() == "5"


def test_version_2_is_beside_it(root: Path) -> None:
    """A cgroup with processes in it can have no children with limits: the nearest one that hands memory on can."""
    home = supervisor_in(root, "0::/user.slice/session-1.scope", "user.slice/session-1.scope")
    (home.parent / "cgroup.subtree_control").write_text("cpu memory pids\n")
    group = memory.MemoryGroup(SUPERVISOR, "ours")
    group.limit(LIMIT, lambda: [5])
    assert (home.parent / "ours" / "memory.max").read_text() == str(LIMIT)
    assert (home.parent / "ours" / "memory.swap.max").read_text() == "0"
    assert group.holds(5)
    assert not group.holds(55)
    assert group.in_force() == LIMIT


def test_a_limit_that_the_kernel_does_not_take_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read back: an order alone is no limit."""
    supervisor_in(root, "4:memory:/", "memory")
    group = memory.MemoryGroup(SUPERVISOR, "ours")
    monkeypatch.setattr(group, "in_force", lambda: None)
    with pytest.raises(StackError, match=f"limited to {LIMIT} bytes, the kernel says None"):
        group.limit(LIMIT, list)


def test_where_no_group_can_be_made_it_is_the_machines_fault(root: Path) -> None:
    """An ordinary user, or a container that sees another tree: one line, and nothing was started."""
    supervisor_in(root, "4:memory:/not/here", "memory")
    group = memory.MemoryGroup(SUPERVISOR, "ours")
    with pytest.raises(UsageError, match="RUNTIME=docker"):
        group.limit(LIMIT, lambda: [5])
    assert group.in_force() is None
    assert group.counts() == cgroup.Counts(None, None)
    group.release()


def test_no_limit_is_none(root: Path) -> None:
    """Version 1 writes a number that no machine has, version 2 a word."""
    home = supervisor_in(root, "4:memory:/", "memory")
    group = memory.MemoryGroup(SUPERVISOR, "ours")
    (home / "ours").mkdir()
    for text in ("9223372036854771712\n", "max\n", ""):
        (home / "ours" / "memory.limit_in_bytes").write_text(text)
        assert group.in_force() is None


def test_all_groups_of_an_instance_are_removed(root: Path) -> None:
    """And no other's, wherever they are."""
    home = supervisor_in(root, "0::/a/b", "a/b")
    for name in (memory.group_name("one", "replica-1"), memory.group_name("two", "replica-1")):
        (home.parent / name).mkdir()
    memory.remove_all("one")
    memory.remove_all("one")
    assert [path.name for path in home.parent.iterdir() if path != home] == ["drillyard-two-replica-1"]
