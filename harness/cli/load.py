"""``harness load``: a scenario's load on the stack that runs, without a drill, until Ctrl-C."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cli import arguments
from harness.judge import drill
from harness.model.errors import UsageError, did_you_mean
from harness.model.scenario import parse_duration
from harness.plan import runtime
from harness.plan.options import StackOptions
from harness.recover import lock
from harness.run import load_only
from harness.run.load_only import Order
from harness.run.progress import Progress
from harness.run.terminal import Console
from stack import state

ORDER, HELP = 130, "a scenario's load on the stack that runs, without a drill"
DEFAULT = "timeout-spike"


@dataclass(frozen=True)
class Wanted:
    """What was typed. ``rate`` and ``lasts`` as in a scenario: ``8/s``, ``40 % of capacity``; ``60s``."""

    command: str
    scenario: str = DEFAULT
    rate: str | None = None
    lasts: str | None = None
    seed: int | None = None
    workers: int | None = None


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """On which stack, which load, and for how long."""
    arguments.add_stack(parser, environment)
    parser.add_argument("scenario", nargs="?", default=DEFAULT, metavar="SCENARIO", help=f"[{DEFAULT}]")
    parser.add_argument("--rate", help="8/s, or '40 %% of capacity'; if not said, the scenario's")
    parser.add_argument("--for", dest="lasts", metavar="TIME", help="60s or 5m; if not said, until Ctrl-C")
    parser.add_argument("--seed", type=int, help="repeat the draws of an earlier load")
    workers = arguments.number(environment, "WORKERS")
    parser.add_argument("--workers", type=int, default=workers, help="load processes [WORKERS]")


def do(options: argparse.Namespace, given: Sequence[str]) -> int:
    """Put it on the stack; the records hold the command as it was ``given``."""
    command = shlex.join([".venv/bin/python", "-m", "harness", *given])
    typed = {name: getattr(options, name) for name in ("scenario", "rate", "lasts", "seed", "workers")}
    return load(arguments.stack(options), Wanted(command=command, **typed))


def load(
    options: StackOptions, wanted: Wanted, console: Console | None = None, progress: Progress | None = None
) -> int:
    """Put the load on whatever stack runs for the instance; 0 when it was ended by Ctrl-C or its time.

    UsageError where no stack runs, somebody uses it, or it is not ours; StackError when load or stack end on their own.
    """
    console, progress = console or Console(highlight=False), progress or Progress()
    found = runtime.running(options)
    if found is None:
        raise UsageError(
            f"instance {options.instance}: nothing runs, so nothing can be put under load: `make up` first"
        )
    stack, _ = found
    topology = stack.topology
    if topology.target is not None:
        raise UsageError(
            "this instance leads to a service that Drillyard did not start: load goes there in a drill only, which has "
            "stop conditions"
        )
    lasts_s = None if wanted.lasts is None else _seconds(wanted.lasts)
    scenario, limits = load_only.baseline(_named(wanted.scenario), topology, wanted.rate, lasts_s)
    if wanted.workers is not None:
        scenario = scenario.model_copy(update={"load": scenario.load.model_copy(update={"workers": wanted.workers})})
    with lock.held(state.instance_folder(topology) / lock.RUN, "load without a drill", progress.say) as held:
        models = ", ".join(dict.fromkeys(topology.models.values()))
        until = "until Ctrl-C" if lasts_s is None else f"for {lasts_s:g} s"
        progress.say(
            f"load of {scenario.name} on instance {topology.instance}: runtime {stack.name}, engine {topology.engine}, "
            f"model {models}; {until}"
        )
        order = Order(stack, held, scenario, limits, progress, wanted.command, wanted.seed, lasts_s)
        folder = load_only.put(order, drill.ROOT / "runs")
    for line in [*load_only.summary(folder), f"records: {folder.path}"]:
        console.print(line, markup=False, soft_wrap=True)
    return 0


def _named(name: str) -> Path:
    """The file of the scenario of that name, or the path that was given. UsageError with the nearest name for none."""
    if "/" in name or name.endswith((".yaml", ".yml")):
        return Path(name)
    own = drill.scenario_file(name)
    if not own.exists():
        names = sorted(path.stem for path in drill.SCENARIOS.glob("*.yaml"))
        hint = did_you_mean(name, names) or f"there are {', '.join(names)}"
        raise UsageError(f"there is no scenario {name!r}: {hint}")
    return own


def _seconds(text: str) -> float:
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--for: {error}") from None
    if not found:
        raise UsageError(f"--for: found {text!r}, expected more than nothing")
    return found
