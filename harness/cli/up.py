"""``harness up``: bring the stack up and wait until it is ready."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence

from harness.cli import arguments
from harness.model.topology import CLIENT
from harness.plan import runtime
from harness.plan.options import StackOptions
from harness.recover import lock
from harness.run.terminal import Console
from stack import state

ORDER, HELP = 100, "bring the stack up"


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Which stack."""
    arguments.add_stack(parser, environment)


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Bring it up."""
    return up(arguments.stack(options))


def up(options: StackOptions, console: Console | None = None) -> int:
    """Bring the stack up, saying what is waited for; 0 when it is ready.

    StackError; UsageError, among others while a run uses the stack, which another engine would take from it.
    """
    console = console or Console(highlight=False)
    began_s = time.monotonic()
    stack, why = runtime.chosen(options)
    console.print(f"runtime {stack.name}: {why}", markup=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    with lock.held(state.instance_folder(stack.topology) / lock.RUN, "harness up", say):
        warm = stack.up(say)
    took = f"{'was up already' if warm else 'is up'} ({time.monotonic() - began_s:.1f} s)"
    links = [link for link in stack.topology.links if link.source == CLIENT]
    scheme = stack.topology.target.service.scheme if stack.topology.target else "http"
    entrypoints = " and ".join(f"{scheme}://{link.listen_address}:{link.listen_port}/v1" for link in links)
    console.print(f"instance {options.instance} {took}: {entrypoints}", markup=False, soft_wrap=True)
    return 0
