"""``harness capacity``: measure what the stack can carry on this machine, compare it with the accepted value."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from harness.cli import arguments
from harness.judge import capacity
from harness.model.errors import UsageError
from harness.model.verdict import Status
from harness.plan import capacity_store, runtime
from harness.plan.options import StackOptions
from harness.recover import lock
from harness.run import measuring, pipeline
from harness.run.measuring import Order
from harness.run.progress import Progress
from harness.run.terminal import Console
from stack import state

ORDER, HELP = 140, "measure what the stack can carry here"
REPEATS = 3


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """What is measured, how often, and whether it counts."""
    arguments.add_stack(parser, environment)
    parser.add_argument("--accept", action="store_true", help="load follows the new value from now on, if it is sound")
    parser.add_argument("--repeats", type=int, default=REPEATS, choices=range(1, 11), metavar="N", help="[3]")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Measure it."""
    return measure(arguments.stack(options), accept=options.accept, repeats=options.repeats)


def measure(options: StackOptions, *, accept: bool, repeats: int = REPEATS, console: Console | None = None) -> int:
    """Measure ``repeats`` times. 0: accepted, or as before; 1: a regression of the stack; 2: provisional, so neither.

    With ``accept`` a sound value becomes what load follows from now on. UsageError for a target that is not ours.
    """
    console = console or Console(highlight=False)
    if options.runtime == "external":
        raise UsageError(
            "capacity is measured by load up to the limit, which must not be put on a service that Drillyard did "
            "not start"
        )
    stack, why = runtime.chosen(options)
    stack.preflight()
    progress = Progress()
    progress.say(f"runtime {stack.name} ({why}); {repeats} measurements of {measuring.WITHIN} each")
    with lock.held(state.instance_folder(stack.topology) / lock.RUN, "a measuring of capacity", progress.say) as held:
        order = Order(stack, held, progress, pipeline.marks(stack.topology), sorted(options.defects))
        found = capacity.pooled([measuring.measure(order) for _ in range(repeats)])
    store = capacity_store.store_of(stack.topology)
    entry = store.load().after(found, accept)
    store.save(entry)
    for line in capacity_store.lines(store, entry):
        console.print(line, markup=False, soft_wrap=True)
    status = Status.INCONCLUSIVE if found.provisional else Status.FAIL if entry.regression else Status.PASS
    return status.exit_code
