"""``python -m tests.ci.night``: what does not fit into CI's hour, part by part; one that fails does not end the night.

`--only` takes the names of parts. At the end there is a line per part; exit 1 when one of them failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.run.outcome import stopped
from stack.runtimes import select
from tests.drills.outcome import CHECKOUT
from tests.trust.storm import STRATA

#: Of one command, seconds. Only a hang reaches it: whatever has an end has a bound of its own below this.
COMMAND_S_MAX = 8 * 3600.0
_HUNG = 124  # as timeout(1) says it
PYTEST = (sys.executable, "-m", "pytest", "-q")
INSTALL = (sys.executable, "-m", "stack.tools", "install")
#: The simulator's processes wait more than they compute. Drills run alone: they judge how late their load was.
_SIDE_BY_SIDE = ("-n", "4", "--dist", "loadfile", "--no-loadscope-reorder", "--ignore", "tests/drills")


@dataclass(frozen=True)
class Part:
    """One part of the night: its commands, in their order, all of which are run."""

    name: str
    what: str
    commands: tuple[tuple[str, ...], ...]
    docker: bool = False  # skipped, with the reason, where no daemon answers


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name, *arguments)


PARTS = (
    Part(
        "trust",
        "the whole trust suite, and what it leaves to the night",
        (
            (*INSTALL, "--runtime", "process", "--engine", "sim"),
            (*PYTEST, "-m", "trust or night", *_SIDE_BY_SIDE),
            (*PYTEST, "-m", "trust or night", "tests/drills"),
        ),
    ),
    Part(
        "storm",
        "five crashes of every kind, from a seed that nobody chose",
        (_module("tests.trust.storm", "-n", str(5 * len(STRATA))),),
    ),
    Part(
        "stability",
        "a healthy simulated stack, a hundred times",
        (_module("tests.trust.stability", "-n", "100"),),
    ),
    Part(
        "drills",
        "every scenario of every drill on real vLLM, as processes",
        (_module("tests.ci.drills", "--every-scenario", "--runtime", "process"),),
    ),
    Part(
        "docker",
        "the tests of the Docker runtime, and every scenario in Docker",
        (
            (*PYTEST, "-m", "docker"),
            _module("tests.ci.drills", "--every-scenario", "--runtime", "docker"),
        ),
        docker=True,
    ),
)


@dataclass(frozen=True)
class Done:
    """How a part ended."""

    part: Part
    how: str  # "passed", "FAILED: …", "did not run: …"
    took_s: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether the night is red for it."""
        return self.how.startswith("FAILED")


def night(
    parts: Sequence[Part], call: Callable[[Sequence[str]], int], docker_trouble: Callable[[], str | None]
) -> list[Done]:
    """Carry the parts out, one after the other; ``call`` runs a command and returns its exit code."""
    done = []
    for part in parts:
        trouble = docker_trouble() if part.docker else None
        if trouble:
            done.append(Done(part, f"did not run: {trouble}"))
            continue
        print(f"\n=== {part.name}: {part.what}", flush=True)
        began = time.monotonic()
        codes = [(command, call(command)) for command in part.commands]
        red = [f"exit {code} of {' '.join(command[1:])}" for command, code in codes if code]
        done.append(Done(part, f"FAILED: {'; '.join(red)}" if red else "passed", time.monotonic() - began))
    return done


def tally(done: Sequence[Done]) -> str:
    """A line per part."""
    return "\n".join(f"{one.part.name:<10} {one.took_s / 60:4.0f} min  {one.how}" for one in done)


def call(command: Sequence[str], limit_s: float = COMMAND_S_MAX) -> int:
    """Run it to its end and return its exit code; 124 where it had to be stopped at the limit."""
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL)
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        print(f"=== not over after {limit_s:.0f} s: {' '.join(command[1:])}", flush=True)
        return _HUNG
    finally:
        if process.poll() is None:
            stopped(process)


def main() -> int:
    """Carry out the night; 1 when a part failed."""
    contents = "\n".join(f"  {part.name:<10} {part.what}" for part in PARTS)
    parser = argparse.ArgumentParser(
        prog="python -m tests.ci.night",
        description=f"{__doc__}\n\n{contents}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [part.name for part in PARTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PART", help=" ".join(names))
    options = parser.parse_args()
    print(f"the night:\n{contents}", flush=True)
    done = night([part for part in PARTS if part.name in options.only], call, select.docker_trouble)
    print(f"\n=== the night\n{tally(done)}", flush=True)
    return 1 if any(one.failed for one in done) else 0


if __name__ == "__main__":
    sys.exit(main())
