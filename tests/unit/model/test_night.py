"""A night is stored whole or not at all, and a damaged file is one clear error."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.model import night
from harness.model.errors import RecordError, RunFolderError
from harness.model.night import Attempt, Entry, Night
from harness.model.verdict import Status


def one(*statuses: Status | None) -> Night:
    """A night with an entry of each status; None was not run."""
    entries = [
        Entry(
            id=f"oom-{n}/process/sim", drill="oom", scenario="oom", runtime="process", engine="sim", status=status,
            attempts=(Attempt(run_id=f"r{n}", status=status, exit_code=status.exit_code, reason="why", duration_s=2.0),)
            if status else (), not_run="" if status else "budget spent",
        )
        for n, status in enumerate(statuses)
    ]  # fmt: skip
    started = dt.datetime(2026, 11, 28, 1, tzinfo=dt.UTC)
    return Night(
        suite="nightly", run_id="nightly-2026-11-28", seed=7, started=started, commit="abc", machine="m",
        entries=tuple(entries),
    )  # fmt: skip


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    """Everything, an interrupted night's missing end, too."""
    stored = one(Status.PASS, Status.FAIL, None)
    night.write(tmp_path, stored)
    assert night.read(tmp_path) == stored
    assert json.loads((tmp_path / night.FILE).read_text())["schema"] == 1
    assert [path.name for path in tmp_path.iterdir()] == [night.FILE]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data.update(schema=2), "schema"),
        (lambda data: data.update(extra=1), "extra"),
        (lambda data: data.pop("seed"), "seed"),
        (lambda data: data.update(seed="7"), "seed"),
        (lambda data: data.update(started="2026-11-28T01:00:00"), "started"),
        (lambda data: data["entries"][0].update(status="GREEN"), "entries.0.status"),
        (lambda data: data["entries"][0]["attempts"][0].update(duration_s=-1), "duration_s"),
        (lambda data: data["entries"].append(data["entries"][0]), "twice"),
    ],
)
def test_damaged_file_is_one_error(tmp_path: Path, damage: Callable[[Any], object], says: str) -> None:
    """It names the file and the place, in one line."""
    night.write(tmp_path, one(Status.PASS))
    path = tmp_path / night.FILE
    data = json.loads(path.read_text())
    damage(data)
    path.write_text(json.dumps(data))
    with pytest.raises(RunFolderError, match=says) as error:
        night.read(tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", None])
def test_unreadable_file_is_one_error(tmp_path: Path, content: bytes | None) -> None:
    """Torn, of another kind, or not there at all."""
    if content is not None:
        (tmp_path / night.FILE).write_bytes(content)
    with pytest.raises(RunFolderError, match=night.FILE):
        night.read(tmp_path)


def test_unwritable_folder_is_a_record_error(tmp_path: Path) -> None:
    """Nothing could be resumed from what was not stored."""
    with pytest.raises(RecordError, match=night.FILE):
        night.write(tmp_path / "gone", one(Status.PASS))


@pytest.mark.parametrize(
    ("statuses", "regressed", "code"),
    [
        ((Status.PASS, Status.PASS), False, 0),
        ((Status.PASS, Status.PASS), True, 3),
        ((Status.PASS, Status.INCONCLUSIVE), False, 2),
        ((Status.PASS, Status.INCONCLUSIVE), True, 3),
        ((Status.INCONCLUSIVE, Status.FAIL), True, 1),
        ((Status.PASS, None), False, 2),
        ((), False, 2),
    ],
)
def test_exit_code_is_of_the_worst(statuses: tuple[Status | None, ...], regressed: bool, code: int) -> None:
    """FAIL over a regression over INCONCLUSIVE over PASS; what was not run has not passed."""
    assert one(*statuses).exit_code(regressed) == code
