"""Coroutines and tasks that have to be seen to their end, whatever happens beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from typing import Any

from harness.model.errors import StackError


async def all_ended(orders: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run them side by side; return when all have ended, also when one fails or the caller is cancelled.

    ``asyncio.gather`` returns with the first that ends badly: the way out would then heal what another one is about to
    break.
    """
    async with asyncio.TaskGroup() as group:
        for order in orders:
            group.create_task(order)


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and see them end. StackError when one does not within some seconds.

    One cancellation is not always enough: Python 3.11's ``wait_for``, which libraries use, can lose it.
    """
    pending = {task for task in tasks if not task.done()}
    for _ in range(10):
        if not pending:
            break
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1.0)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # looked at: what a probe or a proof died of does not matter any more
    if pending:
        raise StackError(f"{len(pending)} of the harness' own tasks do not end")


async def try_each(parts: Iterable[Callable[[], Awaitable[None]]], failed: Callable[[Exception], None]) -> None:
    """Run the parts one after the other, each whatever became of those before; ``failed`` is told what one raised."""
    for part in parts:
        try:
            await part()
        except Exception as error:
            failed(error)
        except BaseException as error:  # a part that is cancelled, too, keeps no other from being tried
            failed(RuntimeError(f"{type(error).__name__}: {error}"))
