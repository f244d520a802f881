"""What ends a run early, healed: a signal, a stop condition, a stack that is taken down, no watchdog; and an error.

What people can mend becomes the event ``aborted``. What nobody foresaw is a bug of the harness: it is recorded, too,
and goes on as an exception when the way out is behind it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.adapters.load import Window
from harness.evidence import record
from harness.model import exhausted
from harness.model.errors import DrillyardError, Exhausted, FaultError, UsageError
from harness.plan.stop_conditions import LOOK_BACK_S, Watch
from harness.recover import lock
from harness.run.run import Run
from stack import state

#: What ends a run early, healed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: What Ctrl-Z is answered with: a fault would stay while nobody heals it.
NO_PAUSE = "SIGTSTP: a run in progress cannot be paused, since its fault would stay; press Ctrl-C to end it healed"
#: The watchdog and the stack are looked at so often.
LOOK_EVERY_S = 0.5


@contextmanager
def catching(
    end: Callable[[signal.Signals], None], say: Callable[[str], None], no_pause: str = NO_PAUSE
) -> Iterator[None]:
    """While active, SIGINT, SIGTERM and SIGHUP call ``end`` instead of ending the process; Ctrl-Z says ``no_pause``."""
    loop, numbers = asyncio.get_running_loop(), (*SIGNALS, signal.SIGTSTP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in SIGNALS:
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGTSTP, say, no_pause)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])  # asyncio leaves the system's own, which ends the process


def interrupt(run: Run, stop: asyncio.Event, number: signal.Signals) -> None:
    """A signal sets ``stop``; more of them only remind."""
    again = stop.is_set()
    stop.set()  # first: what cannot be written or shown must not keep the run from ending
    run.caught.append(number)
    if again:
        run.progress.say("already stopping: taking everything back first")
        return
    run.log.add("interrupted", signal=number.name)
    run.progress.say(f"{number.name}: stopping; taking everything back first")


async def stop_condition(run: Run, windows_since: Callable[[float], Sequence[Window]]) -> None:
    """Return when a stop condition of the scenario is met, recorded; while none is, never."""
    watches = [Watch(condition) for condition in run.scenario.abort_when]
    while True:
        for watch in watches:
            now_s = run.log.now_s()
            why = watch.look(now_s, windows_since(now_s - LOOK_BACK_S))
            if why is not None:
                run.log.add("stop_condition", condition=str(watch.condition), why=why)
                run.progress.say(f"stop condition met: {why}; taking everything back")
                return
        await asyncio.sleep(LOOK_EVERY_S)


async def no_watchdog(run: Run) -> None:
    """Keep a watchdog. FaultError when none stays alive, or when it took over while this process was stopped."""
    while True:
        require_watchdog(run)
        await asyncio.sleep(LOOK_EVERY_S)


def require_watchdog(run: Run) -> None:
    """Whatever is injected must heal when this process is killed. FaultError when nobody would see to that."""
    watchdog = run.watchdog
    if watchdog.taken:
        raise FaultError(f"{watchdog.taken}; no further fault is injected")
    if watchdog.alive:
        return
    watchdog.start()
    run.note("the watchdog died or does not answer: another one is started")
    if not watchdog.alive:
        raise FaultError("no watchdog stays alive (logs/watchdog.log of the run says why): nothing is injected")


def takes_down(folder: Path) -> str:
    """By whom the instance is or was taken down, in words; "" while it is not. A missing folder proves neither."""
    if (seen := lock.look(folder / state.LOCK)).held:
        return f"process {seen.name} does so (`harness down --force`)"
    return "it is gone" if folder.exists() and state.load(folder) is None else ""


def recorded(run: Run, result: object) -> Exception | None:
    """Record what ended the run early, if ``result`` is an error that did. The error, if nobody foresaw it."""
    if not isinstance(result, Exception):
        return None
    known = first_known(result)
    why = str(known) if known is not None else f"a bug in the harness: {type(result).__name__}: {result}"
    run.log.add("aborted", why=why, **({"usage": True} if isinstance(known, UsageError) else {}))
    run.progress.say(f"the run ends early: {why}")
    return result if known is None else None


def first_known(error: Exception) -> DrillyardError | None:
    """The error for people in ``error`` (task groups wrap theirs); None when there is any other in it."""
    if isinstance(error, DrillyardError):
        return error
    if isinstance(error, OSError) and (what := exhausted.subtype(error)) is not None:
        return Exhausted(what, exhausted.WORDS[what])
    if (unwritten := record.storage_failure(error)) is not None:
        return unwritten
    if isinstance(error, ExceptionGroup):
        found = [first_known(one) for one in error.exceptions]
        return None if None in found else found[0]
    return None
