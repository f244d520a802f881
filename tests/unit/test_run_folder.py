"""The run folder: where runs are kept, and which of them is the latest."""

from __future__ import annotations

from pathlib import Path

from harness.record import RunFolder


def test_latest_is_the_newest_run(tmp_path: Path) -> None:
    """``latest`` points at the run that was begun last, by a relative link: the folder can be moved."""
    for name in ("one", "two"):
        folder = RunFolder.create(tmp_path / "runs", name)
        assert (folder.path / "logs").is_dir()
    latest = tmp_path / "runs" / "latest"
    assert latest.resolve() == folder.path.resolve()
    assert str(latest.readlink()) == "two"
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["latest", "one", "two"]


def test_two_runs_of_one_second_do_not_meet(tmp_path: Path) -> None:
    """Two stacks may begin a run with the same seed in the same second: each gets a folder of its own."""
    names = [RunFolder.create(tmp_path, "run").path.name for _ in range(3)]
    assert names == ["run", "run-2", "run-3"]
    assert str((tmp_path / "latest").readlink()) == "run-3"
