"""``python -m tests.trust.stability``: a healthy stack is drilled again and again, and has to pass every time.

What does not pass is a flake, whatever the reason: it is counted, with the reason and the seed (``make stability``).
One thing is not the harness's fault: a machine that stands still for tenths of a second, when nobody sends anything.
A drill has to say then that it could not measure; where a witness beside it saw the same, it is made again and told.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from stack.topology import Topology
from tests.drills.drill_process import Running
from tests.drills.outcome import run_name
from tests.trust.lanes import latest_kept, warm_stack
from tests.trust.standstill import STANDSTILL_S, until_measured, witness

SCENARIO = Path(__file__).with_name("stability.yaml")
LANES = 1  # a drill beside another one is judged by what that one takes


@dataclass(frozen=True)
class Drilled:
    """How one drill of the healthy stack ended. ``reason`` is the verdict's first line, or what was said instead."""

    seed: int
    status: str
    reason: str
    took_s: float
    stood_still_s: float = 0.0

    @property
    def flake(self) -> bool:
        """Whether it did not pass, and the machine is not to blame."""
        return self.status != "PASS" and not self.machine_to_blame

    @property
    def machine_to_blame(self) -> bool:
        """Whether it rightly says that it could not measure: a witness saw the machine stand still."""
        return self.status == "INCONCLUSIVE" and self.stood_still_s >= STANDSTILL_S


def drill_once(topology: Topology, seed: int) -> Drilled:
    """One drill; the folder of a run that passed goes."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, witness() as seen:
        arguments = ("--scenario", str(SCENARIO), "--seed", str(seed))
        running = Running(topology, Path(folder), *arguments, program="tests.trust.one_fault")
        ended = running.end()
    took_s = time.monotonic() - began
    if run_name(ended.err) is None or not (ended.folder.path / "verdict.json").exists():
        return Drilled(seed, f"exit {ended.code}", ended.err[-2000:], took_s, seen.longest_s)
    status, reason = ended.verdict["status"], ended.verdict["reason"]
    if status == "PASS":
        shutil.rmtree(ended.folder.path, ignore_errors=True)
    return Drilled(seed, status, f"{reason} ({ended.folder.path})", took_s, seen.longest_s)


def stability(seeds: Sequence[int], lanes: int, tell: Callable[[Drilled], None]) -> list[Drilled]:
    """A drill for every seed (more where the machine stood still), on ``lanes`` warm stacks side by side.

    ``tell`` hears of each as it ends.
    """
    drilled: list[Drilled] = []

    def one_after_the_other(topology: Topology, mine: Sequence[int]) -> None:
        for seed in mine:
            for one in until_measured(partial(drill_once, topology, seed)):
                drilled.append(one)
                tell(one)

    with ExitStack() as cleanup:
        cleanup.enter_context(latest_kept())
        topologies = [cleanup.enter_context(warm_stack()) for _ in range(lanes)]
        with ThreadPoolExecutor(lanes) as pool:
            shares = [seeds[lane::lanes] for lane in range(lanes)]
            for future in [pool.submit(one_after_the_other, *pair) for pair in zip(topologies, shares, strict=True)]:
                future.result()
    return drilled


def summary(drilled: Sequence[Drilled]) -> str:
    """How many seeds passed, the flake count, and what each drill was that did not pass."""
    flakes, seeds = sum(one.flake for one in drilled), len({one.seed for one in drilled})
    slowest = max((one.took_s for one in drilled), default=0.0)
    told = (
        f"{passed(drilled)} of {seeds} seeds passed on a healthy stack, {flakes} flakes (slowest drill {slowest:.0f} s)"
    )
    return "\n".join([told, *(describe(one) for one in drilled if one.status != "PASS")])


def passed(drilled: Sequence[Drilled]) -> int:
    """How many seeds passed."""
    return len({one.seed for one in drilled if one.status == "PASS"})


def describe(one: Drilled) -> str:
    """One line; the reason when it did not pass."""
    told = f"seed {one.seed}: {one.status}, {one.took_s:.0f} s"
    if one.status == "PASS":
        return told
    blamed = " (not a flake)" * one.machine_to_blame
    return f"{told}, machine stood still for {one.stood_still_s:.2f} s{blamed}: {one.reason}"


def main() -> int:
    """Drill as often as wished; 1 when anything did not pass."""
    parser = argparse.ArgumentParser(prog="python -m tests.trust.stability", description=__doc__)
    parser.add_argument("-n", type=int, default=20, help="how many drills [20]")
    parser.add_argument("--seed", type=int, default=1, help="of the first drill; the others follow [1]")
    parser.add_argument("--lanes", type=int, default=LANES, help=f"stacks side by side [{LANES}]")
    options = parser.parse_args()
    console = Console(highlight=False)
    drilled: list[Drilled] = []
    with console.status("bringing the stacks up") as status:

        def tell(one: Drilled) -> None:
            drilled.append(one)
            console.print(escape(describe(one)), soft_wrap=True)
            status.update(f"{len(drilled)} of {options.n}, {sum(one.flake for one in drilled)} flakes")

        try:
            seeds = range(options.seed, options.seed + options.n)
            stability(seeds, min(options.lanes, options.n), tell)
        except KeyboardInterrupt:
            console.print("interrupted: this is the tally so far")
    console.print(escape(summary(drilled)), soft_wrap=True)
    return 1 if any(one.flake for one in drilled) or passed(drilled) < options.n else 0


if __name__ == "__main__":
    sys.exit(main())
