"""Options that several commands have: stack, game, runs of other machines, numbers that the environment gives."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path

from harness.adapters import desk
from harness.model.errors import UsageError
from harness.plan import defects, guard
from harness.plan.options import ENGINES, StackOptions, instance_number
from stack import stacks, state
from stack.engines import DEFAULT_MODEL
from stack.runtimes import base


def add_stack(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """The stack that a command is about; what is not typed is what ``environment`` says. UsageError for what it says.

    ``stack`` reads them.
    """
    add = parser.add_argument
    runtime = "where the stack runs; auto: docker if its daemon answers, else process [RUNTIME]"
    add("--runtime", metavar=f"{{{','.join(base.NAMES)}}}", default=environment.get("RUNTIME") or "auto", help=runtime)
    add("--engine", metavar=f"{{{','.join(ENGINES)}}}", default=environment.get("ENGINE") or "vllm", help="[ENGINE]")
    add("--instance", type=instance_number, default=number(environment, "INSTANCE") or 0, help="0–255 [INSTANCE]")
    add(
        "--model",
        default=environment.get("MODEL") or "",
        help="v1, v2, bad, slow, a path or a hub id; v1 if not said [MODEL]",
    )
    what = f"what runs: {', '.join(stacks.names())}, or a Python file with a STACK of yours [{stacks.DEFAULT}]"
    add("--stack", metavar="NAME", default=stacks.DEFAULT, help=what)
    defect = "break the stack on purpose, or for one run the simulator (sim.…); `list --defects` tells them all"
    add("--defect", action="append", dest="defects", metavar="NAME", default=[], help=defect)
    external = parser.add_argument_group("for --runtime external, a service that Drillyard did not start")
    add = external.add_argument
    add("--target", metavar="URL", help="https://HOST[:PORT][/PATH] of an OpenAI API [TARGET]")
    add("--api-key-env", metavar="NAME", help="the environment variable that holds its key [API_KEY_ENV]")
    add("--metrics-url", metavar="URL", help="vLLM's metrics page, if it may be read [METRICS_URL]")
    owned = "the exact host of the target (and of its metrics): nothing that is not named so is touched"
    add(guard.OPTION, action="append", dest="owned", metavar="HOST", default=[], help=owned)


def add_history(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """``--history``, a folder, or None; what is not typed is what ``environment`` says."""
    where = environment.get("HISTORY")
    parser.add_argument(
        "--history", type=Path, metavar="DIR", default=Path(where) if where else None,
        help="a folder with run folders of other machines, which count, too [HISTORY]",
    )  # fmt: skip


def add_game(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """The game that is being played, and who plays; ``game`` reads it."""
    add = parser.add_argument
    which = "that the game is played on, 0–255; DRILLYARD_GAME and DRILLYARD_GAME_TOKEN go before it [INSTANCE]"
    add("--instance", type=instance_number, default=number(environment, "INSTANCE") or 0, help=which)
    name = environment.get("DRILLYARD_GAME_WHO") or environment.get("USER") or "somebody"
    add("--who", metavar="NAME", default=name, help="your name in the game [DRILLYARD_GAME_WHO]")


def game(options: argparse.Namespace) -> desk.Desk:
    """The desk of the game. UsageError where none is being played, or where it is said wrongly."""
    return desk.Desk(desk.access(os.environ, state.STATE_ROOT / str(options.instance)))


def game_console(options: argparse.Namespace) -> desk.Console:
    """The facilitator's side of it. UsageError where no game is being played on this machine."""
    return desk.Console(desk.console_access(state.STATE_ROOT / str(options.instance)))


def number(environment: Mapping[str, str], variable: str) -> int | None:
    """A whole number of the environment; None where it says nothing, UsageError where it says something else."""
    text = environment.get(variable)
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,9}", text):
        raise UsageError(f"the environment variable {variable} is {text!r}, expected a number")
    return int(text)


def stack(options: argparse.Namespace, *, for_a_run: bool = False) -> StackOptions:
    """The stack that was asked for with the options of ``add_stack``.

    UsageError for a switch of the simulator where it is not ``for_a_run``, or where another engine runs.
    """
    of_stack, switches = defects.sorted_out(options.defects, stacks.find(options.stack).of("replica"))
    if switches and not for_a_run:
        raise UsageError(f"--defect {switches[0].text} lasts as long as a run: only `run` takes it")
    if switches and options.engine != "sim":
        raise UsageError(f"--defect {switches[0].text} is a switch of the simulator, but ENGINE={options.engine}")
    return StackOptions(
        runtime=options.runtime,
        engine=options.engine,
        instance=options.instance,
        model=options.model or DEFAULT_MODEL,
        defects=of_stack,
        external=_external(options),
        stack=options.stack,
    )


def _external(options: argparse.Namespace) -> guard.External:
    """What was said about a target; the environment counts only where it was asked for."""
    environment = os.environ if options.runtime == "external" else {}
    return guard.External(
        url=options.target or environment.get("TARGET") or None,
        owned=tuple(options.owned),
        api_key_env=options.api_key_env or environment.get("API_KEY_ENV") or None,
        metrics_url=options.metrics_url or environment.get("METRICS_URL") or None,
        model=(options.model or None) if options.runtime == "external" else None,
    )
