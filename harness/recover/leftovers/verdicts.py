"""Runs that ended without a verdict, because their harness and their watchdog died."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from harness.evidence.record import NO_DRILLS, EventLog, RunFolder
from harness.judge import drill
from harness.recover.leftovers.base import Leftover, Site
from reports import render


def find(site: Site) -> Iterator[Leftover]:
    """Runs of the instance without a verdict that no watchdog is judging at this moment."""
    watched = site.processes.by_run("harness.recover.watchdog")
    unjudged = [path.parent for path in site.runs.glob("*/events.jsonl") if not (path.parent / "verdict.json").exists()]
    for run in site.dead_runs(path for path in unjudged if path not in watched):
        if run.plan()["drill"] in NO_DRILLS:
            continue
        what = f"run {run.path.name} has no verdict: whoever should have judged it died"
        yield site.leftover("run", what, "it is judged as interrupted, and rendered", partial(_judge, run))


def _judge(run: RunFolder) -> None:
    if not any(event.kind == "interrupted" for event in run.events()):
        log = EventLog.later(run)
        log.add("interrupted", signal="the harness and its watchdog died; the doctor judges")
        log.close()
    render.judged(run, drill.load(run.plan()["drill"]))
