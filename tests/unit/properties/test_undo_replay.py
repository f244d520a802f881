"""Whatever a journal went through, replaying it heals: newest first per target, each thing once, and again the same."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model.errors import AdapterError, FaultError
from harness.model.journal import Journal, Undo
from tests.unit.properties.depth import depth, draws

HEALTHY = {"a": 1, "b": 1, "c": 1}
GARBAGE = (
    b"", b"{", b"null", b"7", b"[]", b'"x"', b"{}", b'{"done": 7}', b'{"done": ["f1"]}', b'{"done": null}',
    b'{"id": "x"}', b'{"id": "x", "action": "restore"}',
    b'{"id": "x", "action": "restore", "args": 3}',
    b'{"id": ["x"], "action": 1, "args": {}}',
    b"\x00\x00\x00", b"\xff\xfe\xfd", b'{"id": "\xc3"', b"[" * 5000, b'{"done": "nobody"}', b"NaN", b"\xe2\x80\xa8",
)  # fmt: skip


@dataclass
class ModelContext:
    """Components with one setting each; an undo record holds what it was before. ``failing``: tries that go wrong."""

    settings: dict[str, int] = field(default_factory=lambda: dict(HEALTHY))
    extras: set[str] = field(default_factory=set)
    failing: Counter[str] = field(default_factory=Counter)
    done: list[str] = field(default_factory=list)

    def take_back(self, undo: Undo) -> None:
        """As ``harness.faults.base.take_back`` does it."""
        if self.failing[undo.id] > 0:
            self.failing[undo.id] -= 1
            raise AdapterError("no answer") if self.failing[undo.id] % 2 else RuntimeError("a defect")
        actions = {"restore": self._restore, "remove": self._remove}
        if undo.action not in actions:
            raise FaultError(f"nobody knows {undo.action!r}")
        actions[undo.action](undo.args)
        self.done.append(undo.id)

    def _restore(self, args: Mapping[str, Any]) -> None:
        self.settings[args["component"]] = args["value"]

    def _remove(self, args: Mapping[str, Any]) -> None:
        self.extras.discard(args["extra"])


#: One step of a run: what is broken (or not any more), or what befalls the journal.
STEPS = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(sorted(HEALTHY)), st.integers(2, 9)),
    st.tuples(st.just("add"), st.integers(0, 3), st.sampled_from(["injected", "died before"])),
    st.tuples(st.just("heal"), st.sampled_from(["marked", "died before the mark"])),
    st.tuples(st.just("again")),
    st.tuples(st.just("unknown")),
    st.tuples(st.just("garbage"), st.sampled_from(GARBAGE), st.booleans()),
    st.tuples(st.just("torn"), st.integers(1, 40)),
)


class History:
    """Plays steps on a world and its journal, as a run would, and remembers what is still to be rolled back."""

    def __init__(self, path: Path) -> None:
        self.context, self.journal = ModelContext(), Journal(path)
        self.open: list[Undo] = []
        self.unknown: list[str] = []
        self.count = 0

    def play(self, step: tuple[Any, ...]) -> None:
        """One step."""
        getattr(self, f"_{step[0]}")(*step[1:])

    def _need(self, action: str, args: dict[str, Any]) -> Undo:
        self.count += 1
        undo = Undo(f"f{self.count}", action, args)
        self.journal.will_need(undo)
        self.open.append(undo)
        return undo

    def _set(self, component: str, value: int) -> None:
        self._need("restore", {"component": component, "value": self.context.settings[component]})
        self.context.settings[component] = value

    def _add(self, failures: int, how: str) -> None:
        undo = self._need("remove", {"extra": f"e{self.count}"})
        self.context.failing[undo.id] = failures
        if how == "injected":
            self.context.extras.add(undo.args["extra"])

    def _heal(self, how: str) -> None:
        if self.open and self.open[-1].action != "nonsense" and not self.context.failing[self.open[-1].id]:
            self.context.take_back(self.open[-1])
            self.context.done.clear()
            if how == "marked":
                self.journal.done(self.open.pop())

    def _again(self) -> None:
        if self.open:
            self.journal.will_need(self.open[-1])

    def _unknown(self) -> None:
        self.unknown.append(self._need("nonsense", {}).id)

    def _garbage(self, line: bytes, whole: bool) -> None:
        with self.journal.path.open("ab") as file:
            file.write(line + b"\n" * whole)

    def _torn(self, length: int) -> None:
        line = json.dumps({"id": "torn", "action": "restore", "args": {"component": "a", "value": 77}})
        self._garbage(line[:length].encode(), False)


@depth(quick=40, deep=1500)
def test_replaying_heals_whatever_the_journal_went_through(examples: int) -> None:
    """After enough replays all is as before; one more changes nothing; nothing is done twice; newest first."""

    @draws(examples)
    @given(steps=st.lists(STEPS, max_size=25), more=st.integers(0, 3))
    def holds(steps: list[tuple[Any, ...]], more: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            history = History(Path(folder) / "undo.jsonl")
            for step in steps:
                history.play(step)
            context, tries = history.context, max([*history.context.failing.values(), 0])
            expected = [undo.id for undo in reversed(history.open)]
            assert [undo.id for undo in history.journal.open_entries()] == expected
            first = [id for id in expected if not context.failing[id] and id not in history.unknown]
            problems = history.journal.replay(context.take_back)
            assert sorted(context.done) == sorted(first), "whatever fails does not stop the others"
            for target in {undo.target for undo in history.open}:  # targets do not wait for each other
                ours = [undo.id for undo in reversed(history.open) if undo.target == target]
                assert [id for id in context.done if id in ours] == [id for id in first if id in ours], "newest first"
            assert len(problems) == len(expected) - len(first)
            for _ in range(tries + more):
                problems = history.journal.replay(context.take_back)
            assert context.settings == HEALTHY
            assert context.extras == set()
            assert sorted(context.done) == sorted(set(expected) - set(history.unknown)), "each thing is done once"
            assert [p.split(":")[0] for p in problems] == list(reversed(history.unknown))

    holds()


@depth(quick=30, deep=1000)
def test_a_damaged_journal_is_read_as_far_as_it_goes(examples: int) -> None:
    """Any bytes at all: no crash, and a record that is written after them is open."""

    @draws(examples)
    @given(lines=st.lists(st.one_of(st.sampled_from(GARBAGE), st.binary(max_size=60)), max_size=8))
    def holds(lines: list[bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            journal = Journal(Path(folder) / "undo.jsonl")
            journal.path.write_bytes(b"\n".join(lines))
            journal.open_entries()
            mine = Undo("mine", "remove", {"extra": "x"})
            journal.will_need(mine)
            assert journal.open_entries()[0] == mine
            journal.done(mine)
            assert mine not in journal.open_entries()

    holds()


def test_a_mark_that_cannot_be_written_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk while healing: every fault is rolled back all the same, and stays open for the next replay."""
    journal, context = Journal(tmp_path / "undo.jsonl"), ModelContext()
    for number in (1, 2):
        context.extras.add(f"e{number}")
        journal.will_need(Undo(f"f{number}", "remove", {"extra": f"e{number}"}))

    def full(undo: Undo) -> None:
        raise FaultError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "done", full)
        assert journal.replay(context.take_back) == [], "nothing is injected any more"
    assert len(journal.open_entries()) == 2
    assert context.extras == set()
    assert journal.replay(context.take_back) == []
    assert journal.open_entries() == []
