"""``harness run DRILL``: one drill, from the plan to the report."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.cli import arguments
from harness.model import redact
from harness.plan import guard
from harness.run import pipeline
from harness.run.progress import Progress

ORDER, HELP = 20, "run one drill"


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Which drill on which stack, and what is different this time."""
    arguments.add_stack(parser, environment)
    parser.add_argument("drill", metavar="DRILL")
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="another scenario than the drill's own")
    parser.add_argument("--seed", type=int, help="repeat the draws of an earlier run")
    workers = arguments.number(environment, "WORKERS")
    parser.add_argument("--workers", type=int, default=workers, help="load processes [WORKERS]")
    set_help = "change one value of the scenario, e.g. load.rate=8/s or phases.baseline.duration=60s"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help=set_help)
    parser.add_argument("--dry-run", action="store_true", help="print the whole plan and touch nothing")


def do(options: argparse.Namespace, given: Sequence[str]) -> int:
    """Run it, or with ``--dry-run`` only print its plan; the exit code of its verdict."""
    overrides = list(options.overrides)
    if options.workers is not None:
        overrides.append(f"load.workers={options.workers}")
    stack = arguments.stack(options, for_a_run=True)
    wanted = pipeline.Options(
        drill=options.drill,
        stack=stack,
        command=shlex.join(
            [".venv/bin/python", "-m", "harness", *given, *_of_environment(options, given, stack.external)]
        ),
        scenario=options.scenario,
        seed=options.seed,
        overrides=tuple(overrides),
        defects=tuple(options.defects),
    )
    if options.dry_run:
        return pipeline.dry_run(wanted)
    if stack.external.api_key_env:  # what is started from here on learns from it which secret to redact
        os.environ[redact.KEY_VARIABLE] = stack.external.api_key_env
    return pipeline.run(wanted, Progress())


def _of_environment(options: argparse.Namespace, given: Sequence[str], external: guard.External) -> list[str]:
    """What the environment said, as options: the command has to do without it to be typed again."""
    parser = argparse.ArgumentParser()
    add(parser, {})
    typed = vars(parser.parse_args(given[given.index("run") + 1 :]))
    said = {"target": external.url, "api_key_env": external.api_key_env, "metrics_url": external.metrics_url}
    used = {**vars(options), **{name: value for name, value in said.items() if value}}
    missing = {name: used[name] for name, value in typed.items() if used[name] != value}
    return [word for name, value in missing.items() for word in (f"--{name.replace('_', '-')}", str(value))]
