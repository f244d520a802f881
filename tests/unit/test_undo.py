"""The undo journal: durable before the injection, newest first, idempotent."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from harness.model.errors import AdapterError, FaultError
from harness.model.journal import Journal, Undo
from tests.exhaustion import no_file_beyond

ONE, TWO = Undo("one", "remove_toxics", {"proxy": "a"}), Undo("two", "remove_toxics", {"proxy": "b"})
THREE = Undo("three", "unpause", {"component": "replica-1"})


def test_open_entries_are_newest_first(tmp_path: Path) -> None:
    """What was injected last is rolled back first; what was rolled back is not listed."""
    journal = Journal(tmp_path / "undo.jsonl")
    journal.will_need(ONE)
    journal.will_need(TWO)
    assert [undo.id for undo in journal.open_entries()] == ["two", "one"]
    journal.done(TWO)
    assert journal.open_entries() == [ONE]


def test_replay_is_idempotent_and_goes_on_after_a_failure(tmp_path: Path) -> None:
    """One entry that cannot be rolled back stays open and does not keep the others from it."""
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


def test_a_heal_that_cannot_be_written_down_is_one(tmp_path: Path) -> None:
    """The disk is full: what was rolled back is not called injected; it stays open, and the next one does it again."""
    path, done = tmp_path / "undo.jsonl", list[str]()
    journal = Journal(path)
    journal.will_need(ONE)
    with no_file_beyond(path.stat().st_size):
        assert journal.replay(lambda undo: done.append(undo.id)) == []
        with pytest.raises(FaultError, match="one was rolled back"):
            journal.done(ONE)
        with pytest.raises(FaultError, match="nothing is injected"):
            journal.will_need(TWO)
    assert done == ["one"]
    assert [undo.id for undo in journal.open_entries()] == ["one"]


def test_a_target_that_hangs_does_not_delay_the_others(tmp_path: Path) -> None:
    """One link whose removal blocks for ever: everything else is rolled back at once, and what hangs stays open."""
    journal, hangs, done = Journal(tmp_path / "undo.jsonl"), threading.Event(), []
    for undo in (ONE, Undo("one again", "remove_toxics", {"proxy": "a"}), TWO, THREE):
        journal.will_need(undo)

    def run(undo: Undo) -> None:
        if undo.target == "a":
            hangs.wait(30)
        done.append(undo.id)

    problems = journal.replay(run, within_s=0.3)
    assert sorted(done) == ["three", "two"]
    assert problems == ["a: not rolled back within 0.3 s"]
    assert [undo.id for undo in journal.open_entries()] == ["one again", "one"]
    hangs.set()


def test_entries_of_one_target_are_taken_back_newest_first(tmp_path: Path) -> None:
    """What was broken on top of something else is rolled back before it, never beside it."""
    journal, done = Journal(tmp_path / "undo.jsonl"), []
    for undo in (ONE, Undo("on top", "remove_toxics", {"proxy": "a"}), TWO):
        journal.will_need(undo)
    assert journal.replay(lambda undo: done.append(undo.id)) == []
    assert [id for id in done if id != "two"] == ["on top", "one"]
