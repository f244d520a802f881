"""``harness down``: end everything that this checkout started for an instance."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from harness.cli import arguments
from harness.plan import runtime
from harness.plan.options import StackOptions
from harness.recover import lock
from harness.run.terminal import Console
from stack import state

ORDER, HELP = 110, "take the stack down"


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Which stack, and whether a run may stop it."""
    arguments.add_stack(parser, environment)
    parser.add_argument("--force", action="store_true", help="even while a run uses it, which then fails")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Take it down."""
    return down(arguments.stack(options), force=options.force)


def down(options: StackOptions, *, force: bool = False, console: Console | None = None) -> int:
    """Take the instance down, in whichever runtime it runs; 0 also when nothing ran.

    UsageError while a run or a measuring uses the stack, which would blame the stack for it; ``force`` ends it all the
    same.
    """
    console = console or Console(highlight=False)
    found = runtime.running(options)
    if found is None:
        console.print(f"instance {options.instance}: nothing runs")
        return 0
    stack, _ = found

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    alone = lock.held(
        state.instance_folder(stack.topology) / lock.RUN, "harness down", say,
        "wait for it or end it (Ctrl-C heals first); --force takes the stack away from it, and it ends early",
    )  # fmt: skip
    with nullcontext() if force else alone:
        stack.down(say)
    console.print(f"instance {options.instance} is down")
    return 0
