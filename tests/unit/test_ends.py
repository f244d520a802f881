"""How a run ends early: what people can mend is an event; what nobody foresaw is a bug, and said to be one."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.model.errors import Exhausted, FaultError, RecordError, StackError, UsageError
from harness.run import ends
from harness.run.ends import first_known, recorded
from stack import state
from tests import sessions


def test_errors_for_people_are_found_inside_task_groups() -> None:
    """A phase runs in a task group, which wraps what its tasks raise."""
    wrapped = ExceptionGroup("tasks", [ExceptionGroup("inner", [StackError("load died")]), FaultError("later")])
    assert str(first_known(wrapped)) == "load died"


def test_a_bug_beside_an_error_for_people_stays_a_bug() -> None:
    """One unforeseen exception in the group must not be hidden behind an expected one."""
    assert first_known(ExceptionGroup("tasks", [StackError("load died"), KeyError("x")])) is None
    assert first_known(KeyError("x")) is None


def test_a_full_disk_is_no_bug() -> None:
    """Wherever it is met: it is said in a sentence, as is a descriptor that could not be had; other errors are bugs."""
    assert isinstance(first_known(OSError(errno.ENOSPC, "full", "waves.json")), RecordError)
    assert isinstance(first_known(ExceptionGroup("tasks", [OSError(errno.EMFILE, "none")])), Exhausted)
    assert first_known(OSError(errno.ENOENT, "gone")) is None


def test_what_ended_a_run_is_recorded_and_a_bug_goes_on(tmp_path: Path) -> None:
    """An end that was planned, or a task that was cancelled, is no event; an error is one, and a bug is more."""
    session = sessions.session(tmp_path)
    bug = KeyError("x")
    given = (None, asyncio.CancelledError(), StackError("load died"), bug, UsageError("no such page"))
    assert [recorded(session.run, one) for one in given] == [None, None, None, bug, None]
    whys = [event["why"] for event in sessions.log(session).events]
    assert whys == ["load died", "a bug in the harness: KeyError: 'x'", "no such page"]
    assert sessions.log(session).kinds == ["aborted"] * 3
    assert ["usage" in event for event in sessions.log(session).events] == [False, False, True]


class _Mute(sessions.Log):
    """Neither writes nor shows anything."""

    def add(self, *_: object, **data: object) -> None:
        """The disk is full."""
        raise ValueError("I/O operation on closed file")


def test_a_signal_stops_the_run_before_anything_is_written(tmp_path: Path) -> None:
    """What cannot be recorded or shown keeps nobody from ending the run."""
    session = sessions.session(tmp_path, log=_Mute())
    with pytest.raises(ValueError, match="closed file"):
        ends.interrupt(session.run, session.stop, signal.SIGINT)
    assert session.stop.is_set()
    assert session.run.caught == [signal.SIGINT]


def test_ctrl_z_is_refused_with_a_sentence() -> None:
    """A run that is paused would leave its fault where it is."""
    said: list[str] = []

    async def drill() -> bool:
        stop, told = asyncio.Event(), asyncio.Event()

        def say(line: str) -> None:
            said.append(line)
            told.set()

        with ends.catching(lambda _: stop.set(), say):
            os.kill(os.getpid(), signal.SIGTSTP)
            await told.wait()
        return stop.is_set()

    assert asyncio.run(drill()) is False
    assert said == [ends.NO_PAUSE]


@pytest.mark.parametrize("how", ["locked", "forgotten", "moved"])
def test_a_stack_that_is_taken_down_ends_the_run(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody does so, and when they have; a state folder that is elsewhere says nothing."""
    monkeypatch.setattr(state, "STATE_ROOT", tmp_path)
    folder = tmp_path / "3"
    if how != "moved":
        folder.mkdir()
    with state.locked(folder, print) if how == "locked" else nullcontext():
        assert bool(ends.takes_down(folder)) == (how != "moved")
        if how == "moved":
            return
        session = sessions.session(tmp_path, runtime=SimpleNamespace(topology=SimpleNamespace(instance=3)))
        session._context = SimpleNamespace()  # type: ignore[assignment]
        with pytest.raises(StackError, match="the stack of this run was taken down"):
            asyncio.run(asyncio.wait_for(session._stack_lost(), 10))
        assert session._taken_down


@pytest.mark.parametrize("taken", ["", "the harness was stopped"])
def test_a_silent_watchdog_is_replaced_and_one_that_took_over_ends_the_run(taken: str, tmp_path: Path) -> None:
    """The run is never without a watchdog, and never goes on behind the back of one that has healed."""
    started, alive = list[bool](), [False]

    def start() -> None:
        started.append(True)
        alive[0] = True

    class _Dog(SimpleNamespace):
        @property
        def alive(self) -> bool:
            """Whether it answers."""
            return alive[0]

    run = sessions.session(tmp_path, watchdog=_Dog(taken=taken, start=start, tell=print)).run
    if taken:
        with pytest.raises(FaultError, match="was stopped; no further fault is injected"):
            asyncio.run(ends.no_watchdog(run))
    else:
        ends.require_watchdog(run)
    assert started == ([] if taken else [True])
