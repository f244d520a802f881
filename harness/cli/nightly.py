"""``harness nightly``: the drills of a suite, one after the other, and the night's files."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from harness.evidence.record import replacing
from harness.model.errors import Interrupted
from harness.model.night import Night
from harness.plan import suite
from harness.run import suite as runner
from harness.run.progress import Progress
from harness.run.suite import Order, Shop
from reports import ctrf, junit, summary


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
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        keeper = runner.night(order, progress.say, shop, wanted.resume)
    except KeyboardInterrupt:
        raise Interrupted("the night was interrupted; `make nightly ARGS=--resume` goes on with it") from None
    write(keeper.folder, keeper.night)
    progress.say(f"{sentence(keeper.night)}; {keeper.folder / 'summary.md'}")
    return keeper.night.exit_code(regressed=False)


def write(folder: Path, night: Night) -> None:
    """The files that people and CI read, from the night's state."""
    files = {
        "summary.md": summary.of_night(night, sentence(night)),
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


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
