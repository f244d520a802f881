"""``python -m tests.trust.storm``: the harness is killed again and again, and nothing may be left (``make storm``).

Each crash follows from its seed alone: the stratum (where in a drill, which way to die) is the seed modulo the number
of strata, so that as many crashes in a row as there are strata hit each of them once; the rest is drawn.
"""

from __future__ import annotations

import argparse
import math
import queue
import random
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.model.topology import Topology
from stack.runtimes.process import ProcessRuntime
from tests.trust.crash import HEALED_WITHIN_S, Case, Missed, Moment, Outcome, crash, doctor
from tests.trust.lanes import latest_kept, silent, warm_stack

LANES = 3
#: A day's sample is every sixth stratum; six days in a row see them all, and so does each night.
SAMPLES = 6
#: A drill that ends before its moment has come is made again, so often at most.
TRIES = 4
#: Fewer are no percentile (docs/metrics.md): n · (1 − 0.95) ≥ 5.
SAMPLES_OF_P95 = 100
FAULTS = 6  # of storm.yaml, two of them in its first fault phase


@dataclass(frozen=True)
class Stratum:
    """A part of all the moments and ways to die; ``counts`` and ``later_s`` are drawn from."""

    what: str
    counts: tuple[int, int] = (1, 1)
    later_s: tuple[float, float] = (0.0, 0.3)
    blow: str = "SIGKILL"
    cold: bool = False
    doctor_dies_s: tuple[float, float] | None = None


#: An order to toxiproxy takes some milliseconds.
_INSTANT = (0.0, 0.03)
_ANY = (1, FAULTS)

STRATA = (
    # where in a drill: the harness is killed
    Stratum("started", later_s=(0.0, 2.5)),
    Stratum("planned"),
    Stratum("stack_ready"),
    Stratum("load_started"),
    Stratum("phase_started", (1, 4), (0.0, 1.0)),
    Stratum("steady_state", (1, 2), _INSTANT),
    Stratum("undo written", later_s=(0.0, 0.003)),
    Stratum("undo written", _ANY, _INSTANT),
    Stratum("fault_injecting", _ANY, _INSTANT),
    Stratum("fault_injecting", _ANY),
    Stratum("fault_injected", later_s=_INSTANT),
    Stratum("fault_injected", _ANY),
    Stratum("fault_injected", _ANY, (0.3, 4.0)),
    Stratum("fault_injected", (FAULTS, FAULTS), (0.3, 4.0)),
    Stratum("fault_proven", _ANY),
    Stratum("fault_proven", (FAULTS, FAULTS), (0.0, 1.0)),
    Stratum("fault_healing", later_s=(0.0, 0.003)),
    Stratum("fault_healing", _ANY, _INSTANT),
    Stratum("fault_healing", _ANY),
    Stratum("undo done", _ANY, _INSTANT),
    Stratum("fault_healed", _ANY, _INSTANT),
    Stratum("fault_healed", _ANY),
    Stratum("heal_proven", _ANY),
    Stratum("phase_started", (5, 5), (0.0, 1.0)),
    Stratum("steady_state", (3, 3), (0.0, 0.6)),
    Stratum("load_stopped", later_s=(0.0, 3.0)),
    Stratum("judged", later_s=_INSTANT),
    Stratum("load_started", later_s=(0.0, 12.0)),
    Stratum("stack starts", (1, 1), _INSTANT, cold=True),
    Stratum("stack starts", (2, 8), (0.0, 3.0), cold=True),
    # other ways to die
    Stratum("fault_injected", _ANY, blow="SIGTERM"),
    Stratum("fault_injecting", _ANY, _INSTANT, blow="SIGINT"),
    Stratum("fault_injected", _ANY, blow="SIGINT twice"),
    Stratum("fault_healing", _ANY, _INSTANT, blow="SIGINT 5 times"),
    Stratum("load_started", later_s=(0.0, 9.0), blow="SIGHUP"),
    Stratum("started", later_s=(0.0, 3.0), blow="SIGINT"),
    Stratum("fault_injected", _ANY, blow="SIGINT, SIGKILL while it stops"),
    Stratum("fault_injected", _ANY, blow="SIGKILL to its process group"),
    Stratum("fault_injecting", _ANY, blow="SIGKILL, toxiproxy too"),
    Stratum("fault_injected", _ANY, blow="SIGKILL, the load generator too"),
    Stratum("fault_injected", (FAULTS, FAULTS), blow="SIGKILL, the watchdog before"),
    Stratum("fault_injecting", _ANY, blow="SIGKILL, the watchdog before", doctor_dies_s=(0.3, 4.0)),
    # somebody is stopped, and not dead
    Stratum("fault_injected", _ANY, blow="SIGSTOP, SIGKILL once healed"),
    Stratum("fault_injected", _ANY, _INSTANT, blow="SIGSTOP, SIGCONT once healed"),
    Stratum("fault_injecting", _ANY, _INSTANT, blow="SIGSTOP, SIGCONT once healed"),
    Stratum("fault_injected", _ANY, blow="SIGSTOP to the watchdog, SIGKILL when it was replaced"),
    Stratum("fault_injected", _ANY, blow="SIGSTOP to the watchdog, SIGKILL, SIGCONT to the watchdog"),
    Stratum("fault_injected", _ANY, blow="SIGTSTP, SIGINT"),
    # files go
    Stratum("fault_injected", (FAULTS, FAULTS), blow="folder deleted, SIGINT"),
    Stratum("fault_injected", _ANY, blow="folder deleted, SIGKILL"),
    Stratum("fault_injected", _ANY, blow="folder renamed, SIGINT"),
    Stratum("fault_injected", (FAULTS, FAULTS), blow="folder renamed, SIGKILL"),
    Stratum("fault_injected", _ANY, blow="journal deleted, SIGINT"),
    Stratum("fault_injected", _ANY, blow="journal deleted, SIGKILL"),
    Stratum("fault_injected", (FAULTS, FAULTS), blow="nothing writable, SIGINT"),
    Stratum("fault_injected", _ANY, blow="nothing writable, SIGTERM"),
)


def drawn(seed: int) -> Case:
    """The crash of that seed."""
    draw, stratum = random.Random(seed), STRATA[seed % len(STRATA)]
    moment = Moment(stratum.what, draw.randint(*stratum.counts), draw.uniform(*stratum.later_s))
    dies_s = draw.uniform(*stratum.doctor_dies_s) if stratum.doctor_dies_s else None
    return Case(seed, moment, stratum.blow, stratum.cold, dies_s)


def sample(day: int, first: int) -> list[int]:
    """The seeds of that day's part of the strata, from ``first`` on, a multiple of their number."""
    return [first + n for n in range(day % SAMPLES, len(STRATA), SAMPLES)]


def storm(seeds: Sequence[int], lanes: int, tell: Callable[[Outcome], None], stop: threading.Event) -> list[Outcome]:
    """The crashes of all ``seeds``, on ``lanes`` stacks side by side; ``tell`` is told of each as it ends.

    After ``stop`` no new one begins.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for seed in seeds:
        waiting.put(seed)
    outcomes: list[Outcome] = []
    lock = threading.Lock()

    def ended(outcome: Outcome) -> None:
        with lock:
            outcomes.append(outcome)
            tell(outcome)

    with ExitStack() as cleanup:
        cleanup.enter_context(latest_kept())
        topologies = [cleanup.enter_context(warm_stack()) for _ in range(lanes)]
        threads = [threading.Thread(target=_lane, args=(topology, waiting, ended, stop)) for topology in topologies]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:  # Ctrl-C, for instance: the crashes that are under way are looked at to their end
            stop.set()
            for thread in threads:
                thread.join()
    return outcomes


def _lane(
    topology: Topology, waiting: queue.SimpleQueue[int], ended: Callable[[Outcome], None], stop: threading.Event
) -> None:
    while not stop.is_set():
        try:
            case = drawn(waiting.get_nowait())
        except queue.Empty:
            return
        outcome = _tried(case, topology)
        if outcome.problems:
            _clear(ProcessRuntime(topology))
        ended(outcome)


def _clear(runtime: ProcessRuntime) -> None:
    """What one crash has left must not be held against the next."""
    doctor(runtime, "--fix")
    runtime.down(silent)


def _tried(case: Case, topology: Topology) -> Outcome:
    """The crash, tried again when the drill did not come to the moment: a busy machine has no steady state."""
    missed = 0
    while True:
        try:
            with tempfile.TemporaryDirectory() as folder:
                return replace(crash(case, topology, Path(folder)), missed=missed)
        except Missed as error:
            missed += 1
            if missed == TRIES:
                return Outcome(case, missed=missed, problems=[str(error)])
        except Exception as error:  # whatever it is, the storm goes on and the tally names it
            return Outcome(case, missed=missed, problems=[f"{type(error).__name__}: {error}"])


def tally(outcomes: Sequence[Outcome]) -> Table:
    """How often each kind of crash was tried, what it left, and the slowest healing."""
    table = Table("moment", "end", "crashes", "left something", "healed within", title=f"{len(outcomes)} crashes")
    kinds: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda one: one.case.seed % len(STRATA)):
        kinds.setdefault((outcome.case.moment.what, outcome.case.blow), []).append(outcome)
    for (what, blow), those in kinds.items():
        bad = sum(bool(outcome.problems) for outcome in those)
        table.add_row(what, blow, str(len(those)), str(bad) if bad else "0", _worst(those))
    table.add_section()
    bad = sum(bool(outcome.problems) for outcome in outcomes)
    table.add_row("all", "", str(len(outcomes)), str(bad), _most_and_worst(outcomes))
    if missed := sum(outcome.missed for outcome in outcomes):
        table.caption = f"{missed} drills ended before their moment had come, and were made again"
    return table


def tally_text(outcomes: Sequence[Outcome]) -> str:
    """The tally as plain text."""
    console = Console(width=110, no_color=True)
    with console.capture() as captured:
        console.print(tally(outcomes))
    return captured.get()


def _times(outcomes: Sequence[Outcome]) -> list[float]:
    return [outcome.healed_s for outcome in outcomes if outcome.healed_s is not None]


def _worst(outcomes: Sequence[Outcome]) -> str:
    times = _times(outcomes)
    return f"{max(times):.1f} s" if times else "–"


def _most_and_worst(outcomes: Sequence[Outcome]) -> str:
    """The p95, too, where there are samples enough for one."""
    times = _times(outcomes)
    if len(times) < SAMPLES_OF_P95:
        return _worst(outcomes)
    p95 = sorted(times)[math.ceil(0.95 * len(times)) - 1]
    return f"{_worst(outcomes)} (p95 {p95:.1f} s)"


def describe(outcome: Outcome) -> str:
    """One line, more when something was left."""
    healed = f"healed within {outcome.healed_s:.1f} s" if outcome.healed_s is not None else "nothing to heal"
    ended = f", gone {outcome.ended_s:.1f} s later" if outcome.ended_s is not None else ""
    line = f"seed {outcome.case.seed}: {outcome.case}: "
    if not outcome.problems:
        return f"{line}{healed}{ended}"
    return line + "\n  ".join(["LEFT SOMETHING:", *outcome.problems, f"again: make storm N=1 SEED={outcome.case.seed}"])


def main() -> int:
    """Kill as often as wished; 1 when anything was left."""
    parser = argparse.ArgumentParser(prog="python -m tests.trust.storm", description=__doc__)
    parser.add_argument("-n", type=int, default=len(STRATA), help=f"how many crashes [{len(STRATA)}]")
    parser.add_argument("--seed", type=int, help="of the first crash; the others follow")
    parser.add_argument("--lanes", type=int, default=LANES, help=f"stacks side by side [{LANES}]")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(2**31)
    console, outcomes = Console(highlight=False), list[Outcome]()
    console.print(f"{options.n} crashes from seed {first} on, {options.lanes} stacks, limit {HEALED_WITHIN_S:.0f} s")
    with console.status("bringing the stacks up") as status:

        def tell(outcome: Outcome) -> None:
            outcomes.append(outcome)
            console.print(escape(describe(outcome)), soft_wrap=True)
            left = sum(bool(one.problems) for one in outcomes)
            status.update(f"{len(outcomes)} of {options.n} crashes, {left} left something, worst {_worst(outcomes)}")

        try:
            storm(range(first, first + options.n), min(options.lanes, options.n), tell, threading.Event())
        except KeyboardInterrupt:
            console.print("interrupted: this is the tally so far")
    console.print(tally(outcomes))
    return 1 if any(outcome.problems for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
