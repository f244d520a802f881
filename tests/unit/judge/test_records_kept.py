"""What a run has left is known: records that were changed since then are no evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.evidence import record, records_kept
from harness.evidence.record import RunFolder
from harness.model.artifacts import waves
from harness.model.errors import RunFolderError
from tests.judge.cancel_storm import story as wave_story

Lines = list[str]

CHANGES: dict[str, Callable[[Lines], Lines]] = {
    "lost": lambda lines: lines[1:],
    "torn": lambda lines: [*lines[:-1], lines[-1][:-9]],
    "doubled": lambda lines: [*lines, lines[-1]],
    "swapped": lambda lines: [lines[1], lines[0], *lines[2:]],
    "edited": lambda lines: [lines[0].replace('"kind"', '"why": "", "kind"'), *lines[1:]],
}
CHANGES_OF_ROWS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "lost": lambda rows: rows.slice(1),
    "doubled": lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]),
    "swapped": lambda rows: rows.take([1, 0, *range(2, len(rows))]),
    "edited": lambda rows: rows.set_column(0, "request_id", pa.array(["x", *rows["request_id"].to_pylist()[1:]])),
}


@pytest.fixture
def left(tmp_path: Path) -> RunFolder:
    """A run with waves, as it ended."""
    return wave_story.healthy().write(tmp_path / "run")


def test_what_was_left_is_as_it_was(left: RunFolder) -> None:
    """Written again in another order of keys it is the same."""
    assert records_kept.difference(left) is None
    path = left.path / waves.FILE
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert records_kept.difference(left) is None


def test_a_large_file_has_the_digest_of_a_small_one(left: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read some rows at a time, of which some have no text in a column; the rows are the same."""
    path = left.path / "requests.parquet"
    rows = pq.read_table(path)
    assert any(rows[name].slice(0, 50).null_count == 50 != rows[name].null_count for name in rows.column_names)
    pq.write_table(rows, path, row_group_size=50, write_page_checksum=True)
    monkeypatch.setattr(record, "GROUP_ROWS", 50)
    assert records_kept.difference(left) is None
    pq.write_table(rows.take([1, 0, *range(2, len(rows))]), path, row_group_size=50, write_page_checksum=True)
    assert "requests" in (records_kept.difference(left) or "")


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_an_event_is_noticed(change: str, left: RunFolder) -> None:
    """One that is lost, torn, doubled, swapped or edited."""
    path = left.path / "events.jsonl"
    path.write_text("\n".join(CHANGES[change](path.read_text().splitlines())) + "\n")
    assert "events.jsonl" in (records_kept.difference(left) or "")


@pytest.mark.parametrize("change", CHANGES_OF_ROWS)
def test_any_change_of_an_attempt_is_noticed(change: str, left: RunFolder) -> None:
    """One that is lost, doubled, swapped or edited."""
    path = left.path / "requests.parquet"
    pq.write_table(CHANGES_OF_ROWS[change](pq.read_table(path)), path)
    assert "requests.parquet" in (records_kept.difference(left) or "")


def test_attempts_that_were_cut_off_are_no_evidence(left: RunFolder) -> None:
    """Whether the run left them so, or they were cut off later."""
    path = left.path / "requests.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    assert records_kept.difference(left) == "requests.parquet cannot be read"
    records_kept.seal(left)
    assert records_kept.difference(left) == "requests.parquet cannot be read"


@pytest.mark.parametrize("name", [name for name in records_kept.DOCUMENTS if name != "rollout.json"])
def test_any_change_of_a_document_is_noticed(name: str, left: RunFolder) -> None:
    """A number in it, and whether it is there."""
    left.write_json(name, {**left.read_json(name), "more": 1})
    assert records_kept.difference(left) == f"{name}: not as the run left it"
    (left.path / name).unlink()
    assert records_kept.difference(left) == f"{name}: not as the run left it"


def test_a_document_that_came_later_is_noticed(left: RunFolder) -> None:
    """This run had no rollout."""
    left.write_json("rollout.json", {})
    assert records_kept.difference(left) == "rollout.json: not as the run left it"


@pytest.mark.parametrize(("before", "after"), [("{}\n", None), ("{}\n", ""), (None, "{}\n")])
def test_any_change_of_the_undo_journal_is_noticed(before: str | None, after: str | None, left: RunFolder) -> None:
    """One that is lost, edited, or came later."""

    def journal(text: str | None) -> None:
        (left.path / records_kept.JOURNAL).unlink(missing_ok=True)
        if text is not None:
            (left.path / records_kept.JOURNAL).write_text(text)

    journal(before)
    records_kept.seal(left)
    assert records_kept.difference(left) is None
    journal(after)
    assert records_kept.difference(left) == "undo.jsonl is not as the run left it"


def test_unknown_is_not_the_same(left: RunFolder) -> None:
    """Without the run's word, or with a broken one, nobody knows."""
    path = left.path / records_kept.FILE
    path.write_text('{"documents": []}')
    assert "does not count the events" in (records_kept.difference(left) or "")
    path.write_text("")
    assert (records_kept.difference(left) or "").startswith("what the run left is not recorded")
    path.unlink()
    assert (records_kept.difference(left) or "").startswith("what the run left is not recorded")
    with pytest.raises(RunFolderError):
        left.read_json(records_kept.FILE)
