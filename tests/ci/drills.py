"""``python -m tests.ci.drills``: core drills on real vLLM, others on the simulator; what CI calls green or red.

1. A drill that interference of the machine kept from being judged is repeated once, after the others had their turn.
2. If that is not judged either, it has to pass on the simulator instead, which asks less of the machine.
3. Red is: any FAIL; any other end that is no PASS; more than a third of the drills (of six: two) not judged on vLLM.

What was not judged is listed by name: green beside it means «nothing found», not «everything passed».
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.judge import drill
from harness.run import outcome
from harness.run.outcome import Outcome
from tests.drills.outcome import CHECKOUT

#: Of one run, seconds: a drill takes minutes, its stack may have to start first, in Docker its images to be built.
LIMIT_S = {"process": 900.0, "docker": 1800.0}
DOWN_S = 120.0
SIMULATOR = "sim"


@dataclass(frozen=True, order=True)
class Subject:
    """What is run: a drill in its default scenario, or in another one."""

    drill: str
    scenario: str = ""  # name of the file, without .yaml; "" is the drill's own

    def __str__(self) -> str:
        """For people."""
        return self.scenario or self.drill

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of `python -m harness run`."""
        if not self.scenario:
            return (self.drill,)
        return (self.drill, "--scenario", str(CHECKOUT / "scenarios" / f"{self.scenario}.yaml"))


@dataclass(frozen=True)
class Tried:
    """One run of a subject on an engine."""

    engine: str
    outcome: Outcome


Attempts = Mapping[Subject, Sequence[Tried]]


def engines(engine: str) -> tuple[str, ...]:
    """The engine of each try, in their order: two on the engine that was asked for, then two on the simulator."""
    return (engine, engine) if engine == SIMULATOR else (engine, engine, SIMULATOR, SIMULATOR)


def practise(
    subjects: Sequence[Subject], tries: Sequence[str], attempt: Callable[[Subject, str], Outcome]
) -> dict[Subject, list[Tried]]:
    """Run each subject once, then again, try by try, those that were not judged yet."""
    found: dict[Subject, list[Tried]] = {subject: [] for subject in subjects}
    for engine in tries:
        for subject in subjects:
            before = found[subject]
            if not before or before[-1].outcome.not_judged:
                before.append(Tried(engine, attempt(subject, engine)))
    return found


def unjudged(attempts: Attempts, engine: str) -> list[Subject]:
    """The subjects that no run on ``engine`` has judged, although one was made."""
    return [s for s, tried in attempts.items() if all(t.outcome.not_judged for t in tried if t.engine == engine)]


def unjudged_max(subjects: int) -> int:
    """How many may be left unjudged: a third of them, rounded down; two of six, none of two."""
    return subjects // 3


def problems(attempts: Attempts, engine: str) -> list[str]:
    """Why this is red, one sentence each; none when it is green."""
    found = [] if attempts else ["no drill was run"]
    for subject, tried in attempts.items():
        last = tried[-1]
        if last.outcome.not_judged:
            found.append(f"{subject} was never judged, not on {last.engine} either: {last.outcome.reason}")
        elif not last.outcome.passed:
            found.append(f"{subject} on {last.engine}: {last.outcome.status}: {last.outcome.reason}")
            found += (f"  {line}" for line in last.outcome.red)
    left = unjudged(attempts, engine)
    if len(left) > unjudged_max(len(attempts)):
        names = ", ".join(str(subject) for subject in left)
        found.append(
            f"{len(left)} of {len(attempts)} drills were not judged on {engine} (at most {unjudged_max(len(attempts))})"
            f": {names}"
        )
    return found


def tally(attempts: Attempts, engine: str) -> str:
    """A line per run (drill, engine, verdict, cause, seconds, run), then what was not judged, then green or red."""
    rows = [("drill", "engine", "verdict", "cause", "seconds", "run")]
    for subject, tried in attempts.items():
        for number, one in enumerate(tried):
            o = one.outcome
            name = str(subject) if not number else f"  again, {subject}"
            rows.append((name, one.engine, o.status, o.cause or "-", f"{o.took_s:.0f}", o.run or "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for subject in unjudged(attempts, engine):
        last = attempts[subject][-1]
        instead = f"{last.engine} instead: {last.outcome.status}" if last.engine != engine else "no other engine left"
        why = next(t.outcome.reason for t in reversed(attempts[subject]) if t.engine == engine)
        lines.append(f"NOT JUDGED on {engine}: {subject} ({instead}). The machine was disturbed: {why}")
    passed = sum(tried[-1].engine == engine and tried[-1].outcome.passed for tried in attempts.values())
    red = problems(attempts, engine)
    lines.append(f"{passed} of {len(attempts)} drills passed on {engine}: {'RED' if red else 'green'}")
    return "\n".join([*lines, *(f"  {line}" for line in red)])


def later(names: Sequence[str], every_scenario: bool) -> list[Subject]:
    """The drills that are no core drills: none where some were named, or all run as the others do."""
    if names or every_scenario:
        return []
    return [Subject(name) for name in drill.names() if name not in drill.core()]


def subjects(names: Sequence[str], every_scenario: bool) -> list[Subject]:
    """The drills of these names (the core ones, when none is given), in the default scenario or in every one of all."""
    chosen = [Subject(name) for name in names or (drill.names() if every_scenario else drill.core())]
    if not every_scenario:
        return chosen
    return [one for subject in chosen for one in (subject, *(_variants(subject.drill)))]


def _variants(name: str) -> list[Subject]:
    """The shipped scenarios of a drill beside its own; one for an external target has a dot in its name."""
    files = sorted((CHECKOUT / "scenarios").glob(f"{name}-*.yaml"))
    return [Subject(name, path.stem) for path in files if "." not in path.stem]


class Bench:
    """Where the drills run: a runtime and an instance, with one engine at a time."""

    def __init__(self, runtime: str, instance: int) -> None:
        self.runtime, self.instance = runtime, instance
        self._engine: str | None = None

    def attempt(self, subject: Subject, engine: str) -> Outcome:
        """One run, with all that it says on our stdout; before the first on another engine the stack is changed."""
        if engine != self._engine:
            self._change(engine)
        print(f"\n=== drill {subject} on {engine}, {self.runtime}", flush=True)
        where = ("--runtime", self.runtime, "--engine", engine, "--instance", str(self.instance))
        ended = outcome.run((*subject.arguments, *where), LIMIT_S[self.runtime], lambda line: print(line, flush=True))
        print(f"=== drill {subject} on {engine}, {self.runtime}: {ended.status}, {ended.took_s:.0f} s", flush=True)
        return ended

    def down(self) -> None:
        """Take the stack down. What does not end in time is said, and takes no verdict away."""
        where = ("--runtime", self.runtime, "--instance", str(self.instance))
        try:
            subprocess.run(
                [sys.executable, "-m", "harness", "down", "--force", *where], cwd=CHECKOUT, check=False, timeout=DOWN_S
            )
        except subprocess.TimeoutExpired:
            print(f"=== the stack was not down after {DOWN_S:.0f} s", flush=True)

    def _change(self, engine: str) -> None:
        if self._engine is not None:
            self.down()
        install = ("-m", "stack.tools", "install", "--runtime", self.runtime, "--engine", engine)
        subprocess.run([sys.executable, *install], cwd=CHECKOUT, check=True, timeout=2400)
        self._engine = engine


def main() -> int:
    """Run them; 0 green, 1 red."""
    parser = argparse.ArgumentParser(prog="python -m tests.ci.drills", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="DRILL", help="only these [all]")
    parser.add_argument("--runtime", choices=tuple(LIMIT_S), default="process")
    parser.add_argument("--engine", choices=("vllm", SIMULATOR), default="vllm")
    parser.add_argument("--instance", type=int, default=0)
    parser.add_argument("--every-scenario", action="store_true", help="every shipped scenario of each drill")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(drill.names())):
        parser.error(f"no such drill: {', '.join(unknown)}; there are {', '.join(drill.names())}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # of `timeout`: the drill is stopped first
    bench = Bench(options.runtime, options.instance)
    try:
        attempts = practise(subjects(options.names, options.every_scenario), engines(options.engine), bench.attempt)
        others = practise(later(options.names, options.every_scenario), engines(SIMULATOR), bench.attempt)
    finally:
        bench.down()
    print(f"\n=== the drills, {options.runtime}\n{tally(attempts, options.engine)}", flush=True)
    red = problems(attempts, options.engine)
    if others:
        print(f"\n=== later drills, {options.runtime}\n{tally(others, SIMULATOR)}", flush=True)
        red += problems(others, SIMULATOR)
    return 1 if red else 0


if __name__ == "__main__":
    sys.exit(main())
