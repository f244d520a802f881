"""The undo journal: durable before the injection, newest first, idempotent."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import AdapterError, FaultError
from harness.undo import Journal, Undo

ONE, TWO = Undo("one", "remove_toxics", {"proxy": "a"}), Undo("two", "remove_toxics", {"proxy": "b"})


def test_open_entries_are_newest_first(tmp_path: Path) -> None:
    """What was injected last is taken back first; what was taken back is not listed."""
    journal = Journal(tmp_path / "undo.jsonl")
    journal.will_need(ONE)
    journal.will_need(TWO)
    assert [undo.id for undo in journal.open_entries()] == ["two", "one"]
    journal.done(TWO)
    assert journal.open_entries() == [ONE]


def test_replay_is_idempotent_and_goes_on_after_a_failure(tmp_path: Path) -> None:
    """One entry that cannot be taken back stays open and does not keep the others from it."""
    journal = Journal(tmp_path / "undo.jsonl")
    journal.will_need(ONE)
    journal.will_need(TWO)

    def run(undo: Undo) -> None:
        if undo.id == "two":
            raise AdapterError("no answer")

    problems = journal.replay(run)
    assert len(problems) == 1
    assert "two" in problems[0]
    assert [undo.id for undo in journal.open_entries()] == ["two"]
    assert journal.replay(lambda undo: None) == []
    assert journal.replay(lambda undo: pytest.fail("nothing is open")) == []


def test_a_torn_last_line_was_never_acted_on(tmp_path: Path) -> None:
    """The harness died while writing: the injection had not begun."""
    path = tmp_path / "undo.jsonl"
    journal = Journal(path)
    journal.will_need(ONE)
    path.write_text(path.read_text() + '{"id": "two", "act')
    assert journal.open_entries() == [ONE]


def test_no_journal_no_injection(tmp_path: Path) -> None:
    """A journal that cannot be written refuses the injection."""
    with pytest.raises(FaultError, match="nothing is injected"):
        Journal(tmp_path / "missing" / "undo.jsonl").will_need(ONE)
