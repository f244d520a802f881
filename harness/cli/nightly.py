"""``harness nightly``: the drills of a suite, one after the other, and the night's files."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cli import arguments, nightly_page
from harness.evidence.record import replacing
from harness.model import notify
from harness.model.errors import Interrupted, UsageError, require_one_of
from harness.model.night import Night
from harness.model.notify import Event, Place
from harness.model.scenario import parse_duration
from harness.plan import suite
from harness.plan.options import ENGINES, instance_number
from harness.run import suite as runner
from harness.run.notify import tell
from harness.run.progress import Progress
from harness.run.suite import Launcher, Order
from reports import ctrf, junit, summary
from reports.nights import tonight
from reports.pages import nightly as pages
from reports.pages.nightly import History

ORDER, HELP = 30, "the drills of a suite, one after the other; docs/nightly.md"


@dataclass(frozen=True)
class Wanted:
    """What was typed; None for what the suite's file or the checkout decides."""

    suite: str = suite.DEFAULT
    runtime: str | None = None
    engine: str | None = None
    budget_s: float | None = None
    seed: int | None = None
    instance: int = 0
    model: str = ""
    resume: bool = False
    history: tuple[Path, ...] = ()


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Which suite, what it runs on, and how long it may take."""
    add = parser.add_argument
    add("--suite", metavar="NAME", default=suite.DEFAULT, help=f"of scenarios/suites/, or a file [{suite.DEFAULT}]")
    runtimes, engines = ",".join(suite.RUNTIMES), ",".join(ENGINES)
    add("--runtime", metavar=f"{{{runtimes}}}", default=environment.get("RUNTIME"), help="for all [the suite's]")
    add("--engine", metavar=f"{{{engines}}}", default=environment.get("ENGINE"), help="for all [the suite's]")
    instance = arguments.number(environment, "INSTANCE") or 0
    add("--instance", type=instance_number, default=instance, help="0–255 [INSTANCE]")
    add("--model", default=environment.get("MODEL") or "", help="of all drills [MODEL]")
    add("--budget", metavar="TIME", help="for all drills together, such as 90m [the suite's]")
    add("--seed", type=int, help="of the order and of each drill")
    arguments.add_history(parser, environment)
    add(
        "--resume",
        action="store_true",
        help="go on with the newest night that was cut off, also before anybody was told of it",
    )


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Run the night. UsageError for what no suite can be run with."""
    require_one_of("--runtime", options.runtime or "auto", suite.RUNTIMES)
    require_one_of("--engine", options.engine or ENGINES[0], ENGINES)
    typed = {name: getattr(options, name) for name in ("runtime", "engine", "instance", "model", "seed", "resume")}
    typed["history"] = (options.history,) if options.history else ()
    return nightly(Wanted(suite=options.suite, budget_s=_budget_s(options.budget), **typed))


def _budget_s(text: str | None) -> float | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--budget: {error}") from None


def nightly(
    wanted: Wanted, progress: Progress | None = None, launcher: Launcher | None = None, runs: Path = runner.RUNS
) -> int:
    """Run it; 0 when all passed, 1 when one failed, 3 when something became worse, 2 when something was not judged.

    UsageError for a suite that cannot be run, a night in progress, or nothing to resume; Interrupted when it was ended.
    """
    progress = progress or Progress()
    order = Order(
        suite=suite.load(suite.find(wanted.suite)),
        runtimes=(wanted.runtime,) if wanted.runtime else (),
        engines=(wanted.engine,) if wanted.engine else (),
        budget_s=wanted.budget_s,
        seed=wanted.seed,
        instance=wanted.instance,
        model=wanted.model,
        runs=runs,
    )
    try:
        kept = runner.night(order, progress.say, launcher, wanted.resume)
    except KeyboardInterrupt:
        raise Interrupted("the night was interrupted; `make nightly ARGS=--resume` goes on with it") from None
    receivers = order.suite.notify or notify.from_environment(os.environ)
    try:
        history = nightly_page.history(runs, wanted.history)
        worse = pages.worse(history, kept.night)
        write(kept.folder, kept.night, list(worse.values()))
        page = pages.write(history, kept.folder, nightly_page.command(runs, wanted.history))
        events = _events(history, kept.night, worse, page)
    except Exception:  # whatever it is: people hear of a FAIL even where its page cannot be made
        night = kept.night
        tell(
            notify.of_night(night.suite, night.run_id, [night.statuses], page=str(kept.folder)),
            receivers,
            progress.say,
        )
        kept.note(told=True)
        raise
    progress.say(f"{tonight.results(kept.night)}; {page}")
    tell(events, receivers, progress.say)
    kept.note(told=True)
    return kept.night.exit_code(bool(worse))


def _events(history: History, night: Night, worse: Mapping[Place, str], page: Path) -> list[Event]:
    """What people should hear of it, compared with the nights of the same suite on this machine before it."""
    before = sorted(
        (one for one in history.nights if (one.suite, one.machine) == (night.suite, night.machine)),
        key=lambda one: one.started,
    )
    before = [one for one in before if one.started < night.started]
    statuses = [one.statuses for one in (*before, night)]
    known = pages.worse(history, before[-1]) if before else {}
    return notify.of_night(night.suite, night.run_id, statuses, worse, known, str(page))


def write(folder: Path, night: Night, worse: Sequence[str] = ()) -> None:
    """The files that people and CI read, from the night's state and what is ``worse`` than it was."""
    files = {
        "summary.md": summary.of_night(night, tonight.status(night, bool(worse)), tonight.results(night), worse),
        "junit.xml": junit.of_night(night),
        "ctrf.json": ctrf.of_night(night),
    }
    for name, content in files.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
