"""A stack that somebody uses is neither brought up anew nor taken down under them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.cli import down, up
from harness.model.errors import UsageError
from harness.model.topology import Topology
from harness.plan import runtime
from harness.plan.options import StackOptions
from harness.recover import lock
from stack import state
from stack.stacks.vllm_haproxy import STACK

OPTIONS = StackOptions("process", "sim", 61)


class Stack:
    """Notes what is done to it."""

    name = "process"

    def __init__(self) -> None:
        self.topology, self.done = Topology(STACK, engine="sim", instance=61), list[str]()

    def up(self, say: Callable[[str], None]) -> bool:
        """Started."""
        self.done.append("up")
        return False

    def down(self, say: Callable[[str], None]) -> None:
        """Stopped."""
        self.done.append("down")


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """One that runs, with its lock in a folder of its own."""
    found = Stack()
    monkeypatch.setattr(state, "instance_folder", lambda topology: tmp_path / str(topology.instance))
    monkeypatch.setattr(runtime, "running", lambda options: (found, "it runs"))
    monkeypatch.setattr(runtime, "chosen", lambda options: (found, "asked for"))
    return found


def test_a_stack_that_nobody_uses(stack: Stack) -> None:
    """Both do as they are told, and leave the lock free."""
    assert up.up(OPTIONS) == 0
    assert down.down(OPTIONS) == 0
    assert stack.done == ["up", "down"]
    assert not lock.look(state.instance_folder(stack.topology) / lock.RUN).held


def test_under_a_run_both_are_refused(stack: Stack) -> None:
    """The run is named, and what to do; by force it is taken down all the same."""
    with lock.held(state.instance_folder(stack.topology) / lock.RUN, "a run of timeout-spike", print):
        with pytest.raises(UsageError, match=r"in use by a run of timeout-spike.*wait for it"):
            up.up(OPTIONS)
        with pytest.raises(UsageError, match=r"in use by a run of timeout-spike.*Ctrl-C heals first.*--force"):
            down.down(OPTIONS)
        assert stack.done == []
        assert down.down(OPTIONS, force=True) == 0
    assert stack.done == ["down"]


def test_who_is_refused_is_told_since_when_and_by_what(tmp_path: Path) -> None:
    """By what the holder was started with, and the time at which it took the lock."""
    path = tmp_path / lock.RUN
    began = dt.datetime.now().astimezone()
    with lock.held(path, "a run of oom", print), pytest.raises(UsageError) as refused, lock.held(path, "x", print):
        pass
    found = re.search(r"by a run of oom \(pid \d+\), since (.+), started as `(.+)` \(", str(refused.value))
    assert found
    assert abs(dt.datetime.fromisoformat(found[1]).astimezone() - began) < dt.timedelta(seconds=60)
    assert "pytest" in found[2]


def test_where_nothing_runs_nothing_is_locked(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Down is done already."""
    monkeypatch.setattr(runtime, "running", lambda options: None)
    with lock.held(state.instance_folder(stack.topology) / lock.RUN, "a run", print):
        assert down.down(OPTIONS, console=SimpleNamespace(print=print)) == 0  # type: ignore[arg-type]
