"""``harness nightly``: the drills of a suite, one after the other, and the night's files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cli import nightly_page
from harness.evidence.record import replacing
from harness.model import notify
from harness.model.errors import Interrupted
from harness.model.night import Night
from harness.model.notify import Event, Place
from harness.plan import suite
from harness.run import suite as runner
from harness.run.notify import tell
from harness.run.progress import Progress
from harness.run.suite import Order, Shop
from reports import ctrf, junit, summary
from reports.pages import nightly as pages
from reports.pages.nightly import History


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


def nightly(
    wanted: Wanted, progress: Progress | None = None, shop: Shop | None = None, runs: Path = runner.RUNS
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
        keeper = runner.night(order, progress.say, shop, wanted.resume)
    except KeyboardInterrupt:
        raise Interrupted("the night was interrupted; `make nightly ARGS=--resume` goes on with it") from None
    history = nightly_page.history(runs, wanted.history)
    worse = pages.worse(history, keeper.night)
    write(keeper.folder, keeper.night, list(worse.values()))
    page = pages.write(history, keeper.folder, nightly_page.command(runs, wanted.history))
    progress.say(f"{sentence(keeper.night)}; {page}")
    receivers = order.suite.notify or notify.from_environment(os.environ)
    tell(_events(history, keeper.night, worse, page), receivers, progress.say)
    return keeper.night.exit_code(bool(worse))


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
        "summary.md": summary.of_night(night, sentence(night), worse),
        "junit.xml": junit.of_night(night),
        "ctrf.json": ctrf.of_night(night),
    }
    for name, content in files.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8")


def sentence(night: Night) -> str:
    """How many passed, and what did not, by name."""
    passed = sum(entry.status == "PASS" for entry in night.entries)
    others = [f"{entry.id} {entry.status or 'not run'}" for entry in night.entries if entry.status != "PASS"]
    return f"{passed} of {len(night.entries)} passed" + (f"; {', '.join(others)}" if others else "")
