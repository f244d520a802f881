"""``python -m tests.trust.stability_real``: every drill on real vLLM, on a quiet and on a disturbed machine.

Three groups: quiet, beside a light disturber (a quarter of one core), beside a heavy one (a whole core, 20 s on, 20 s
off). The stack is healthy, so that a FAIL is a wrong one, and every INCONCLUSIVE has to have interference as its
recorded cause. It goes on where it was interrupted, and ends with a tally and whether each group's bar holds.

A run begins on a machine that nobody else uses; where somebody does, it waits, bounded, and then gives up: such runs
would count for nothing.
"""

from __future__ import annotations

import argparse
import datetime as dt
import math
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from harness.evidence.interference import OTHERS_MIN_CORES, known, spans
from harness.evidence.interference import describe as describe_spans
from harness.evidence.record import RunFolder
from harness.evidence.view import RunView
from harness.judge import drill
from harness.run import outcome
from harness.run.outcome import Outcome
from tests.disturber import HEAVY, LIGHT, Disturber, DisturberDied, disturbed
from tests.drills.outcome import CHECKOUT
from tests.trust import ledger, others
from tests.trust.ledger import Entry, Ledger, Series, Slot

LEDGER = CHECKOUT / "runs" / "stability-real.jsonl"
#: Of one run, seconds, the start of the stack included.
LIMIT_S = 900.0
QUIET_WITHIN_S = 600.0


@dataclass(frozen=True)
class Group:
    """Runs under one disturber: ``rounds`` of every drill, of which ``passes_min`` have to pass."""

    name: str
    disturber: Disturber | None
    rounds: int
    passes_min: tuple[int, int]  # so many of so many

    def planned(self, drills: Sequence[str]) -> list[Slot]:
        """All its runs, round by round."""
        return [Slot(self.name, name, n) for n in range(1, self.rounds + 1) for name in drills]


GROUPS = (
    Group("quiet", None, 3, (15, 18)),
    Group("light", LIGHT, 3, (12, 18)),
    Group("heavy", HEAVY, 2, (0, 12)),
)


@dataclass(frozen=True)
class Bar:
    """Whether a group's bar holds; ``holds`` is None while runs are missing that could still decide it."""

    holds: bool | None
    why: str


def bar(group: Group, entries: Sequence[Entry], planned: int) -> Bar:
    """0 FAIL, every INCONCLUSIVE by interference, and enough PASS among all the ``planned`` runs."""
    red = [entry for entry in entries if not (entry.outcome.passed or entry.outcome.not_judged)]
    passed, made = sum(entry.outcome.passed for entry in entries), len(entries)
    needed = math.ceil(planned * group.passes_min[0] / group.passes_min[1])
    count = f"{made} of {planned} runs, {passed} PASS (at least {needed}), {made - passed - len(red)} not judged"
    if red:
        kinds = ", ".join(sorted({f"{e.outcome.status} of {e.slot.drill}" for e in red}))
        return Bar(False, f"{count}, {len(red)} wrong: {kinds}")
    if passed + planned - made < needed:
        return Bar(False, f"{count}: too few")
    return Bar(True if made == planned else None, count)


def todo(
    groups: Sequence[Group], all_drills: Sequence[str], wanted: Sequence[str], made: Mapping[Slot, Entry]
) -> Iterator[tuple[Group, Slot]]:
    """The runs that are still missing, of the drills that are wanted."""
    for group in groups:
        yield from ((group, slot) for slot in group.planned(all_drills) if slot.drill in wanted and slot not in made)


def interference(folder: RunFolder | None) -> str:
    """For how long the run was disturbed and by what, as it sampled the machine itself, for people."""
    if folder is None or not (folder.path / "plan.json").exists():
        return "no run"
    view = RunView(folder)
    if not known(view):
        return "not sampled"
    return describe_spans(spans(view), -math.inf, math.inf) or "undisturbed"


def describe(entry: Entry) -> str:
    """One line; the reason when it did not pass."""
    slot, ended = entry.slot, entry.outcome
    told = f"{slot.group:<6} {slot.round}  {slot.drill:<17} {ended.status:<12} {ended.cause or '-':<13}"
    told += f" {ended.took_s:4.0f} s  {entry.interference}  {ended.run}"
    return told if ended.passed else f"{told}\n         {ended.reason}"


def tally(series: Series, made: Mapping[Slot, Entry], drills: Sequence[str]) -> str:
    """Every run of the series, then each group's bar."""
    lines = [f"commit {series.commit}", f"machine {series.machine}"]
    lines += ["group  round drill          verdict      cause          seconds  the machine  run"]
    for group in GROUPS:
        lines += [describe(made[slot]) for slot in group.planned(drills) if slot in made]
    for group, found in bars(made, drills).items():
        word = {True: "HOLDS", False: "BROKEN", None: "not complete"}[found.holds]
        lines.append(f"{group}: {word}: {found.why}")
    return "\n".join(lines)


def bars(made: Mapping[Slot, Entry], drills: Sequence[str]) -> dict[str, Bar]:
    """The bar of each group."""
    found = {}
    for group in GROUPS:
        planned = group.planned(drills)
        found[group.name] = bar(group, [made[slot] for slot in planned if slot in made], len(planned))
    return found


def count(
    work: Sequence[tuple[Group, Slot]],
    series: Series,
    book: Ledger,
    attempt: Callable[[Group, Slot], tuple[Outcome, str] | None],
    tell: Callable[[str], object],
) -> bool:
    """Make these runs and keep each as it ends. False when the machine did not become quiet: the rest is left."""
    for number, (group, slot) in enumerate(work, 1):
        tell(f"{number} of {len(work)}: {slot.drill}, {group.name}, round {slot.round}")
        ended = attempt(group, slot)
        if ended is None:
            return False
        when = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        entry = Entry(series, slot, *ended, when)
        book.add(entry)
        tell(describe(entry))
    return True


def attempt(instance: int, tell: Callable[[str], object], group: Group, slot: Slot) -> tuple[Outcome, str] | None:
    """One run beside the group's disturber; None when others used the machine all the time before."""
    trouble = others.wait_until_alone(instance, OTHERS_MIN_CORES, QUIET_WITHIN_S, tell)
    if trouble:
        tell(trouble)
        return None
    where = ("--runtime", "process", "--engine", "vllm", "--instance", str(instance))
    with disturbed(group.disturber, 2 * LIMIT_S):
        ended = outcome.run((slot.drill, *where), LIMIT_S, tell)
    return ended, interference(ended.folder)


def main() -> int:
    """Make what is missing; 0 when all that was asked for is made and no bar is broken, 1 broken, 2 not finished."""
    names = drill.core()
    parser = argparse.ArgumentParser(prog="python -m tests.trust.stability_real", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="DRILL", help="only these drills")
    groups = [group.name for group in GROUPS]
    parser.add_argument("--group", nargs="+", choices=groups, default=groups, metavar="GROUP", help=" ".join(groups))
    parser.add_argument("-n", type=int, help="at most so many runs now [all that are missing]")
    parser.add_argument("--instance", type=int, default=0)
    parser.add_argument("--tally", action="store_true", help="only print what was made so far")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the drill is stopped first
    series, book = Series(ledger.commit(), ledger.machine()), Ledger(LEDGER)
    tell = partial(print, flush=True)
    wanted = [group for group in GROUPS if group.name in options.group]
    work = list(todo(wanted, names, options.only, book.of(series)))
    finished = options.tally or not work
    if not finished:
        try:
            finished = count(work[: options.n], series, book, partial(attempt, options.instance, tell), tell)
        except KeyboardInterrupt:
            tell("interrupted: the run under way does not count, what was made before does")
        except DisturberDied as error:
            tell(f"{error}: that run does not count")
    made = book.of(series)
    tell(f"\n{tally(series, made, names)}")
    if any(found.holds is False for found in bars(made, names).values()):
        return 1
    return 0 if finished else 2


if __name__ == "__main__":
    sys.exit(main())
