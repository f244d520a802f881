"""What is begun is seen to its end: orders that are on their way, tasks that are cancelled, each part of a way out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from harness.faults.base import to_the_end
from harness.model.errors import FaultError
from harness.run.tasks import all_ended, end, try_each


async def _quick(error: Exception | None = None) -> None:
    if error is not None:
        raise error
    await asyncio.Event().wait()


@pytest.mark.parametrize("error", [None, FaultError("refused")], ids=["interrupted", "one of them fails"])
def test_an_order_on_its_way_is_waited_for(error: Exception | None) -> None:
    """The run goes on to its healing only when no injection can come any more, however quickly the others ended."""
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def order() -> None:
        begun.set()
        may_end.wait(20)
        ended.set()

    async def interrupted() -> bool:
        orders = asyncio.create_task(all_ended([_quick(error), to_the_end(order)]))
        await asyncio.to_thread(begun.wait, 20)
        if error is None:
            orders.cancel()
        went_on, _ = await asyncio.wait({orders}, timeout=0.2)
        may_end.set()
        await asyncio.gather(orders, return_exceptions=True)
        return bool(went_on) or not ended.is_set()

    assert not asyncio.run(interrupted()), "healing would have overtaken the order"


def test_a_task_that_loses_its_cancellation_is_cancelled_again() -> None:
    """As Python 3.11's ``wait_for`` may lose it; and what others died of is no error of who ends them."""
    lost: list[str] = []

    async def deaf() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.append("once")
        await asyncio.Event().wait()

    async def ended() -> bool:
        tasks = [asyncio.create_task(deaf()), asyncio.create_task(_quick(FaultError("gone")))]
        await asyncio.wait(tasks, timeout=0.01)
        await end(tasks)
        return all(task.done() for task in tasks)

    assert asyncio.run(ended())
    assert lost == ["once"]


def test_each_part_is_tried_whatever_the_others_raise() -> None:
    """Errors for people, bugs, groups of both and a part that is cancelled; and each is told as an error."""
    tried, told = list[str](), list[Exception]()
    errors = [
        FaultError("refused"), KeyError("x"), AssertionError("never"), ExceptionGroup("two", [KeyError("y")]),
        asyncio.CancelledError("stopped"), RuntimeError("closed"),
    ]  # fmt: skip

    def part(error: BaseException) -> Callable[[], Awaitable[None]]:
        async def tried_part() -> None:
            tried.append(str(error))
            raise error

        return tried_part

    asyncio.run(try_each([part(error) for error in errors], told.append))
    assert tried == [str(error) for error in errors]
    assert [error for error in told if error in errors] == [*errors[:4], errors[5]]
    assert str(told[4]) == "CancelledError: stopped"
