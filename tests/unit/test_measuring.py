"""What a step of a measuring counts, from the rows that the generator has written."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from harness.evidence.record import REQUEST_COLUMNS
from harness.evidence.view import RunView
from harness.judge.capacity import Signals, Step
from harness.model.errors import DrillyardError, FaultError, StackError
from harness.run import measuring
from harness.run.measuring import ended, summed
from tests import runs

SHAPE = Step(2, 10.0, 20.0, 0, 0, 0, 0, 2, signals=Signals(busy=0.5))


def rows(*changes: dict[str, Any]) -> pd.DataFrame:
    """One ok request each second from 8 s on, each of half a second; changed as said."""
    usual = {
        "attempt": 1, "final": True, "outcome": "ok", "e2e_ms": 500.0, "ttft_ms": 100.0, "output_tokens": 20,
        "answer_correct": True, "finish_reason": "stop", "replica": "replica-1",
    }  # fmt: skip
    data = [{**usual, "start_s": 8.0 + n, **change} for n, change in enumerate(changes)]
    return pd.DataFrame(data).reindex(columns=REQUEST_COLUMNS.names)


def taken(frame: pd.DataFrame, known_answers: bool = True) -> Step:
    """The step of these rows; its users were let in at 9 s."""
    return summed(ended(frame, SHAPE.begin_s), SHAPE, 9.0, known_answers)


def test_what_ended_in_the_step_is_its_rate() -> None:
    """From its begin to its end; a request that has not ended, or is tried again, counts nowhere."""
    step = taken(rows(*[{}] * 10, {"final": False}, {"e2e_ms": None}, {"start_s": 30.0}))
    assert (step.served, step.ended, step.good) == (8, 8, 8)
    assert (step.rate_per_s, step.tokens) == (0.8, 160)
    assert step.ttft_ms == 100.0
    assert step.tps == pytest.approx(50.0)
    assert step.signals.busy == 0.5


def test_requests_of_the_load_before_say_nothing_about_this_one() -> None:
    """They count for the rate, since they ended in it, and not for whether it holds."""
    step = taken(rows({"start_s": 8.5, "e2e_ms": 3000.0, "ttft_ms": 2500.0}, {"start_s": 11.0}))
    assert (step.served, step.ended, step.good) == (2, 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "shed_503"},
        {"ttft_ms": 801.0, "e2e_ms": 900.0},
        {"e2e_ms": 5200.0, "ttft_ms": 100.0},  # execution above 5 s
    ],
)
def test_good_is_ok_and_within_every_limit(change: dict[str, Any]) -> None:
    """Each limit alone makes a request not good."""
    step = taken(rows({"start_s": 11.0}, {"start_s": 12.0, **change}))
    assert (step.ended, step.good) == (2, 1)


def test_wrong_is_a_whole_answer_that_is_not_the_right_one() -> None:
    """One that was cut by its length is none; where nobody knows the right answer, nobody counts."""
    frame = rows({}, {}, {"answer_correct": False}, {"answer_correct": False, "finish_reason": "length"})
    assert taken(frame).wrong == 1
    assert taken(frame, known_answers=False).wrong is None


def test_shares_and_refusals_are_counted() -> None:
    """By replica, of what was served; refusals of both sorts."""
    shed = [{"outcome": "shed_429", "replica": None}, {"outcome": "shed_503", "replica": None}]
    step = taken(rows({}, {}, {}, {"replica": "replica-2"}, *shed))
    assert step.by_replica == {"replica-1": 1, "replica-2": 1}
    assert step.refused == 2


def test_nothing_is_no_step_that_holds() -> None:
    """No request in it: no rate, no speed, and it does not hold."""
    step = taken(rows({}).iloc[:0])
    assert (step.rate_per_s, step.ttft_ms, step.tps, step.holds) == (0.0, None, None, False)


def test_without_the_number_of_cores_no_step_is_called_undisturbed(tmp_path: Path) -> None:
    """The share of others is unknown then, and not 0."""
    run = runs.healthy()
    step = Step(1, 10.0, 20.0, 40, 40, 40, 400, 2)
    weigh = measuring._weighed(RunView(run.write(tmp_path / "watched")))
    assert weigh(step).lost == 0.0
    unread = run.metrics["component"].eq("machine") & run.metrics["metric"].eq("cores")
    run.metrics = run.metrics[~unread]
    assert measuring._weighed(RunView(run.write(tmp_path / "unread")))(step).lost is None


class _Stubborn:
    """A measuring that is interrupted: rolling back takes a while, and may fail."""

    def __init__(self, fails: DrillyardError | None) -> None:
        self.fails, self.ended, self.finished = fails, False, False
        self.finishing = False
        self.order = SimpleNamespace(progress=SimpleNamespace(say=lambda text: None))

    async def measured(self) -> str:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.1)  # it is heard meanwhile
            self.finished = True
            if self.fails is not None:
                raise self.fails
        return "measured"


@pytest.mark.parametrize("fails", [None, FaultError("still injected: x"), StackError("down")])
def test_a_second_interrupt_ends_no_rollback(fails: DrillyardError | None) -> None:
    """The first ends the measuring; what follows is done to its end, and however it ends, the user ended it."""
    meter = _Stubborn(fails)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(measuring._interruptible(meter))  # type: ignore[arg-type]
    assert meter.finished


class _Late(_Stubborn):
    """One that is interrupted only while everything is rolled back."""

    async def measured(self) -> str:
        self.finishing = True
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.1)  # it is heard meanwhile
        self.finished = True
        return "measured"


def test_an_interrupt_while_everything_is_taken_back_waits_for_it() -> None:
    """Nothing is broken off, and the user ended it."""
    meter = _Late(None)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(measuring._interruptible(meter))  # type: ignore[arg-type]
    assert meter.finished
