"""The command line: ``python -m harness COMMAND``, one of those that ``--help`` lists.

Exit codes: 0 PASS · 1 FAIL · 2 INCONCLUSIVE · 3 a night in which something became worse · 64 wrong usage or
configuration · 70 a bug in the harness · 130 interrupted. ``make`` is the short way, but ends with 2 whatever went
wrong: CI calls this program itself.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import re
import shlex
import signal
import ssl
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from harness.cli import (
    capacity,
    compare,
    doctor,
    down,
    load,
    logs,
    nightly,
    nightly_check,
    nightly_page,
    prune,
    runs,
    status,
    up,
)
from harness.evidence.record import RunFolder, storage_failure
from harness.judge import drill, verdicts
from harness.model import exhausted, redact
from harness.model.errors import DrillyardError, Interrupted, UsageError, require_one_of
from harness.model.scenario import parse_duration
from harness.plan import defects, guard, suite
from harness.plan.options import ENGINES, StackOptions, instance_number, limit
from harness.run import pipeline
from harness.run.progress import Progress
from harness.run.retention import Limits
from reports import render, since
from stack import proxies, stacks
from stack.engines import DEFAULT_MODEL
from stack.runtimes import base


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. Errors for people are one line on stderr, never a traceback, nothing a secret."""
    redact.learn_environment(os.environ)
    exhausted.raise_open_files_limit()
    proxies.exclude_loopback(os.environ)
    out, err = redact.Stream(sys.stdout), redact.Stream(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = _main(list(sys.argv[1:] if arguments is None else arguments))
    _flush(sys.stdout)
    _flush(sys.stderr)
    return code


def _flush(stream: TextIO) -> None:
    """What cannot be shown (a full disk, a closed pipe) is given up: at its end Python would make the exit code 120."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        stream.flush()


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the exit code tells the same
        print(f"drillyard: {text}", file=sys.stderr)


def _main(given: list[str]) -> int:
    try:
        _require_key_log(os.environ.get("SSLKEYLOGFILE"))
        options = _parser(os.environ).parse_args(given)
        return int(options.do(options, given))
    except DrillyardError as error:
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        return Interrupted.exit_code
    except BrokenPipeError:  # as of other programs that write on: never the exit code of a PASS
        return 128 + signal.SIGPIPE
    except Exception as error:
        if (unwritten := storage_failure(error)) is not None:
            _say(str(unwritten))
            return unwritten.exit_code
        with contextlib.suppress(OSError):
            traceback.print_exc()
        _say("this is a bug in the harness, not in your stack; please report the lines above")
        return 70


def _require_key_log(path: str | None) -> None:
    """UsageError where TLS keys cannot be written: Python opens that file for each client that could speak TLS."""
    try:
        if path:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).keylog_filename = path
    except OSError as error:
        found = error.strerror or error
        raise UsageError(
            f"SSLKEYLOGFILE={path}: found {found}, expected a file that can be written; name one or unset it"
        ) from None


class _Parser(argparse.ArgumentParser):
    """argparse ends with 2, which is INCONCLUSIVE here."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """One line and exit 64."""
        raise UsageError(f"{message}; see `{self.prog} --help`")


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """The program's options. What is not typed is what ``environment`` says, else a default."""
    stack = _stack_arguments(environment)
    parser = _Parser(prog=".venv/bin/python -m harness", description="Failure drills for LLM APIs served by vLLM.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("list", help="the drills there are")
    one.add_argument("--names", action="store_true", help="names only, one a line")
    one.add_argument("--defects", action="store_true", help="what --defect can switch on, and what it means")
    one.set_defaults(do=_list)

    one = commands.add_parser("run", help="run one drill", parents=[stack])
    one.add_argument("drill", metavar="DRILL")
    one.add_argument("--scenario", type=Path, metavar="FILE", help="another scenario than the drill's own")
    one.add_argument("--seed", type=int, help="repeat the draws of an earlier run")
    one.add_argument("--workers", type=int, default=_number(environment, "WORKERS"), help="load processes [WORKERS]")
    set_help = "change one value of the scenario, e.g. load.rate=8/s or phases.baseline.duration=60s"
    one.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help=set_help)
    one.add_argument("--dry-run", action="store_true", help="print the whole plan and touch nothing")
    one.set_defaults(do=_run)

    _add_nightly(commands, environment)
    _add_nightly_page(commands, environment)
    for name, function, text in (("judge", _judge, "judge a stored run again"), ("report", _report, "render it again")):
        one = commands.add_parser(name, help=text)
        one.add_argument("run", type=Path, metavar="RUN", help="a run folder, e.g. runs/latest")
        one.set_defaults(do=function)
    _add_history(commands, environment)

    one = commands.add_parser("up", help="bring the stack up", parents=[stack])
    one.set_defaults(do=lambda options, _: up.up(_stack(options)))
    one = commands.add_parser("down", help="take the stack down", parents=[stack])
    one.add_argument("--force", action="store_true", help="even while a run uses it, which then fails")
    one.set_defaults(do=lambda options, _: down.down(_stack(options), force=options.force))
    one = commands.add_parser("status", help="what runs, and where", parents=[stack])
    one.add_argument("--json", action="store_true", help="as data, with every address")
    one.set_defaults(do=lambda options, _: status.status(_stack(options), as_json=options.json))
    one = commands.add_parser("load", help="a scenario's load on the stack that runs, without a drill", parents=[stack])
    one.add_argument("scenario", nargs="?", default=load.DEFAULT, metavar="SCENARIO", help=f"[{load.DEFAULT}]")
    one.add_argument("--rate", help="8/s, or '40 %% of capacity'; if not said, the scenario's")
    one.add_argument("--for", dest="lasts", metavar="TIME", help="60s or 5m; if not said, until Ctrl-C")
    one.add_argument("--seed", type=int, help="repeat the draws of an earlier load")
    one.add_argument("--workers", type=int, default=_number(environment, "WORKERS"), help="load processes [WORKERS]")
    one.set_defaults(do=_load)
    one = commands.add_parser("capacity", help="measure what the stack can carry here", parents=[stack])
    one.add_argument("--accept", action="store_true", help="load follows the new value from now on, if it is sound")
    one.add_argument("--repeats", type=int, default=capacity.REPEATS, choices=range(1, 11), metavar="N", help="[3]")
    one.set_defaults(do=lambda o, _: capacity.measure(_stack(o), accept=o.accept, repeats=o.repeats))
    one = commands.add_parser("logs", help="one component's log", parents=[stack])
    one.add_argument("component", nargs="?", default="", metavar="COMPONENT")
    one.add_argument("--follow", action="store_true", help="go on until interrupted")
    one.set_defaults(do=lambda options, _: logs.logs(_stack(options), options.component, sys.stdout, options.follow))
    one = commands.add_parser(
        "nightly-check", help="whether there was a night, and every drill was judged: for a timer"
    )
    one.add_argument("--suite", default=nightly_check.SUITE, metavar="NAME", help=f"[{nightly_check.SUITE}]")
    one.add_argument("--by", default=nightly_check.BY, metavar="HH:MM", help=f"local time [{nightly_check.BY}]")
    one.set_defaults(do=lambda options, _: nightly_check.check(options.suite, options.by))
    one = commands.add_parser("doctor", help="what earlier runs have left behind, and its repair")
    one.add_argument("--fix", action="store_true", help="repair it; without it nothing is touched")
    one.add_argument("--json", action="store_true", help="as data")
    one.add_argument(
        "--instance", type=instance_number, metavar="N", help="only this instance, not all of this checkout"
    )
    one.set_defaults(do=lambda options, _: doctor.examine(options.instance, fix=options.fix, as_json=options.json))
    return parser


def _add_nightly(commands: argparse._SubParsersAction[_Parser], environment: Mapping[str, str]) -> None:
    one = commands.add_parser("nightly", help="the drills of a suite, one after the other; docs/nightly.md")
    add = one.add_argument
    add("--suite", metavar="NAME", default=suite.DEFAULT, help=f"of scenarios/suites/, or a file [{suite.DEFAULT}]")
    runtimes, engines = ",".join(suite.RUNTIMES), ",".join(ENGINES)
    add("--runtime", metavar=f"{{{runtimes}}}", default=environment.get("RUNTIME"), help="for all [the suite's]")
    add("--engine", metavar=f"{{{engines}}}", default=environment.get("ENGINE"), help="for all [the suite's]")
    add("--instance", type=instance_number, default=_number(environment, "INSTANCE") or 0, help="0–255 [INSTANCE]")
    add("--model", default=environment.get("MODEL") or "", help="of all drills [MODEL]")
    add("--budget", metavar="TIME", help="for all drills together, such as 90m [the suite's]")
    add("--seed", type=int, help="of the order and of each drill")
    _add_other_machines(one, environment)
    add("--resume", action="store_true", help="go on with the newest night that was cut off")
    one.set_defaults(do=_nightly)


def _add_nightly_page(commands: argparse._SubParsersAction[_Parser], environment: Mapping[str, str]) -> None:
    one = commands.add_parser("nightly-page", help="make the page of the newest night again")
    one.add_argument("runs", type=Path, nargs="?", default=Path("runs"), metavar="RUNS", help="[runs]")
    said = environment.get("HISTORY")
    others = "runs of other machines, kept apart on the page; may be given several times [HISTORY]"
    one.add_argument("--history", type=Path, action="append", metavar="DIR", help=others)
    default = [Path(said)] if said else []
    one.set_defaults(do=lambda options, _: nightly_page.nightly_page(options.runs, options.history or default))


def _nightly(options: argparse.Namespace, _: Sequence[str]) -> int:
    require_one_of("--runtime", options.runtime or "auto", suite.RUNTIMES)
    require_one_of("--engine", options.engine or ENGINES[0], ENGINES)
    given = {name: getattr(options, name) for name in ("runtime", "engine", "instance", "model", "seed", "resume")}
    given["history"] = (options.history,) if options.history else ()
    return nightly.nightly(nightly.Wanted(suite=options.suite, budget_s=_budget_s(options.budget), **given))


def _budget_s(text: str | None) -> float | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--budget: {error}") from None


def _add_history(commands: argparse._SubParsersAction[_Parser], environment: Mapping[str, str]) -> None:
    """Commands about all runs there are."""
    one = commands.add_parser("runs", help="the runs there are, newest last; all filters together")
    one.add_argument("--drill", metavar="NAME", help="a drill, or one of its scenarios")
    one.add_argument("--verdict", metavar=f"{{{','.join(runs.VERDICTS)}}}", help="none: those that were not judged")
    one.add_argument("--since", metavar="WHEN", help="2026-11-20, or a time ago: 7d, 12h")
    one.add_argument("--commit", metavar="COMMIT", help="the first characters of it")
    one.add_argument("--machine", metavar="MACHINE", help="the first characters of its key, or a part of its name")
    one.add_argument("--night", metavar="NIGHT", help="the suite's run that started them")
    one.add_argument("--json", action="store_true", help="as data")
    _add_other_machines(one, environment)
    one.set_defaults(do=_runs)
    one = commands.add_parser("compare", help="what really differs between two runs")
    one.add_argument("first", metavar="A", help="a run's id, the begin of it, a folder, latest or latest~1")
    one.add_argument("second", metavar="B", help="the same; the changes are those from A to B")
    one.add_argument("--out", type=Path, metavar="FILE", help="of the page [runs/compare-A-B.html]")
    _add_other_machines(one, environment)
    one.set_defaults(do=_compare)
    kept = (
        "Always kept: the newest run, the last good one of each scenario on its machine, engine and runtime, the runs "
        "of the newest night, what may go on, and what has an open undo journal. What is no run is left alone."
    )
    one = commands.add_parser("prune", help="remove run folders beyond a limit", description=kept)
    one.add_argument("--keep", metavar="N", help="of each scenario on its machine, engine and runtime the newest N")
    one.add_argument("--days", metavar="N", help="no run that is older")
    one.add_argument("--dry-run", action="store_true", help="print what would be removed, and remove nothing")
    one.set_defaults(do=_prune)


def _add_other_machines(parser: _Parser, environment: Mapping[str, str]) -> None:
    where = environment.get("HISTORY")
    parser.add_argument(
        "--history", type=Path, metavar="DIR", default=Path(where) if where else None,
        help="a folder with run folders of other machines, which count, too [HISTORY]",
    )  # fmt: skip


def _stack_arguments(environment: Mapping[str, str]) -> _Parser:
    shared = _Parser(add_help=False)
    add = shared.add_argument
    runtime = "where the stack runs; auto: docker if its daemon answers, else process [RUNTIME]"
    add("--runtime", metavar=f"{{{','.join(base.NAMES)}}}", default=environment.get("RUNTIME") or "auto", help=runtime)
    add("--engine", metavar=f"{{{','.join(ENGINES)}}}", default=environment.get("ENGINE") or "vllm", help="[ENGINE]")
    add("--instance", type=instance_number, default=_number(environment, "INSTANCE") or 0, help="0–255 [INSTANCE]")
    add(
        "--model",
        default=environment.get("MODEL") or "",
        help="v1, v2, bad, slow, a path or a hub id; v1 if not said [MODEL]",
    )
    what = f"what runs: {', '.join(stacks.names())}, or a Python file with a STACK of yours [{stacks.DEFAULT}]"
    add("--stack", metavar="NAME", default=stacks.DEFAULT, help=what)
    defect = "break the stack on purpose, or for one run the simulator (sim.…); `list --defects` tells them all"
    add("--defect", action="append", dest="defects", metavar="NAME", default=[], help=defect)
    external = shared.add_argument_group("for --runtime external, a service that Drillyard did not start")
    add = external.add_argument
    add("--target", metavar="URL", help="https://HOST[:PORT][/PATH] of an OpenAI API [TARGET]")
    add("--api-key-env", metavar="NAME", help="the environment variable that holds its key [API_KEY_ENV]")
    add("--metrics-url", metavar="URL", help="vLLM's metrics page, if it may be read [METRICS_URL]")
    owned = "the exact host of the target (and of its metrics): nothing that is not named so is touched"
    add(guard.OPTION, action="append", dest="owned", metavar="HOST", default=[], help=owned)
    return shared


def _number(environment: Mapping[str, str], variable: str) -> int | None:
    text = environment.get(variable)
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,9}", text):
        raise UsageError(f"the environment variable {variable} is {text!r}, expected a number")
    return int(text)


def _stack(options: argparse.Namespace) -> StackOptions:
    of_stack, switches = defects.sorted_out(options.defects, stacks.find(options.stack).of("replica"))
    if switches and options.do is not _run:
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


def _list(options: argparse.Namespace, _: Sequence[str]) -> int:
    if options.defects:
        for name, text in defects.known().items():
            print(name if options.names else f"{name:<30} {text}")
        return 0
    for name in drill.names():
        print(name if options.names else f"{name:<20} {drill.load(name).title}")
    return 0


def _run(options: argparse.Namespace, given: Sequence[str]) -> int:
    overrides = list(options.overrides)
    if options.workers is not None:
        overrides.append(f"load.workers={options.workers}")
    stack = _stack(options)
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


def _load(options: argparse.Namespace, given: Sequence[str]) -> int:
    return load.load(
        _stack(options),
        load.Wanted(
            command=shlex.join([".venv/bin/python", "-m", "harness", *given]),
            scenario=options.scenario,
            rate=options.rate,
            lasts=options.lasts,
            seed=options.seed,
            workers=options.workers,
        ),
    )


def _of_environment(options: argparse.Namespace, given: Sequence[str], external: guard.External) -> list[str]:
    """What the environment said, as options: the command has to do without it to be typed again."""
    typed = vars(_parser({}).parse_args(given))
    said = {"target": external.url, "api_key_env": external.api_key_env, "metrics_url": external.metrics_url}
    used = {**vars(options), **{name: value for name, value in said.items() if value}}
    missing = {name: value for name, value in used.items() if value != typed[name]}
    return [word for name, value in missing.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def _runs(options: argparse.Namespace, _: Sequence[str]) -> int:
    of = {name: getattr(options, name) for name in ("drill", "commit", "machine", "night") if getattr(options, name)}
    if options.since:
        of["since"] = runs.since(options.since, dt.datetime.now(dt.UTC))
    wanted = runs.Wanted(runs.verdict(options.verdict) if options.verdict else None, of)
    return runs.show(pipeline.ROOT / "runs", wanted, options.history, as_json=options.json)


def _compare(options: argparse.Namespace, _: Sequence[str]) -> int:
    folder = pipeline.ROOT / "runs"
    with runs.opened(folder, options.history) as index:
        return compare.show(index, options.first, options.second, options.out or folder)


def _prune(options: argparse.Namespace, _: Sequence[str]) -> int:
    keep, days = (
        None if text is None else limit(name, text)
        for name, text in (("--keep", options.keep), ("--days", options.days))
    )
    return prune.prune(pipeline.ROOT / "runs", Limits(keep, days), dry_run=options.dry_run)


def _judge(options: argparse.Namespace, _: Sequence[str]) -> int:
    folder = RunFolder(options.run.resolve())
    found = verdicts.judge(folder, drill.load(folder.plan()["drill"]))
    verdicts.write(folder, found)
    render.render(folder, since.last_good(folder))
    pipeline.print_last_lines(folder, found)
    return found.status.exit_code


def _report(options: argparse.Namespace, _: Sequence[str]) -> int:
    folder = RunFolder(options.run.resolve())
    print(render.render(folder, since.last_good(folder)))
    return 0
