"""``python -m tests.trust.stability``: a healthy stack is drilled again and again, and has to pass every time.

What does not pass is a flake: it is counted, with the reason and the seed (``make stability``). One thing is not the
harness's fault: a machine that something else disturbs. The drill then has to say so, is not judged, and is repeated.
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

from harness.model.topology import Topology
from harness.run.outcome import Outcome, read
from tests.drills.drill_process import Running
from tests.drills.outcome import until_judged
from tests.trust.lanes import latest_kept, warm_stack

SCENARIO = Path(__file__).with_name("stability.yaml")
LANES = 1  # a drill beside another one is judged by what that one takes


@dataclass(frozen=True)
class Drilled:
    """One drill of the healthy stack."""

    seed: int
    outcome: Outcome

    @property
    def not_judged(self) -> bool:
        """Whether interference kept it from being judged."""
        return self.outcome.not_judged

    @property
    def flake(self) -> bool:
        """Whether it did not pass, and the machine is not to blame."""
        return not (self.outcome.passed or self.not_judged)


def drill_once(topology: Topology, seed: int) -> Drilled:
    """One drill; the folder of a run that passed goes."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        arguments = ("--scenario", str(SCENARIO), "--seed", str(seed))
        running = Running(topology, Path(folder), *arguments, program="tests.trust.one_fault")
        ended = running.end()
    found = read(ended.code, ended.err, time.monotonic() - began)
    if found.passed and found.folder is not None:
        shutil.rmtree(found.folder.path, ignore_errors=True)
    return Drilled(seed, found)


def stability(seeds: Sequence[int], lanes: int, tell: Callable[[Drilled], None]) -> list[Drilled]:
    """A drill for every seed (more where one was not judged), on ``lanes`` warm stacks side by side.

    ``tell`` hears of each as it ends.
    """
    drilled: list[Drilled] = []

    def one_after_the_other(topology: Topology, mine: Sequence[int]) -> None:
        for seed in mine:
            for one in until_judged(partial(drill_once, topology, seed)):
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
    slowest = max((one.outcome.took_s for one in drilled), default=0.0)
    told = (
        f"{passed(drilled)} of {seeds} seeds passed on a healthy stack, {flakes} flakes (slowest drill {slowest:.0f} s)"
    )
    return "\n".join([told, *(describe(one) for one in drilled if not one.outcome.passed)])


def passed(drilled: Sequence[Drilled]) -> int:
    """How many seeds passed."""
    return len({one.seed for one in drilled if one.outcome.passed})


def unjudged(drilled: Sequence[Drilled]) -> int:
    """How many seeds no drill has judged, since the machine was disturbed each time."""
    return len({one.seed for one in drilled} - {one.seed for one in drilled if not one.not_judged})


def describe(one: Drilled) -> str:
    """One line; the reason when it did not pass."""
    ended = one.outcome
    told = f"seed {one.seed}: {ended.status}, {ended.took_s:.0f} s"
    if ended.passed:
        return told
    blamed = ", not judged: the machine was disturbed" * one.not_judged
    return f"{told}{blamed}: {ended.reason} (runs/{ended.run})"


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
