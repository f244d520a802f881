"""Undo journals with open entries whose run is dead: its watchdog died too, or the machine was switched off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from harness.evidence import records_kept
from harness.evidence.record import EventLog, RunFolder
from harness.model.errors import FaultError, RecordError
from harness.model.journal import Journal, Undo
from harness.recover import heal
from harness.recover.leftovers import belongs
from harness.recover.leftovers.base import Leftover, Site, cannot

HEAL_WITHIN_S = 15.0


def find(site: Site) -> Iterator[Leftover]:
    """Runs of the instance that have not rolled back all they injected; with a record of others nothing is replayed."""
    unfinished = [path.parent for path in site.runs.glob("*/undo.jsonl") if _open(path)]
    for run in site.dead_runs(unfinished):
        if entries := journal(run).open_entries():
            if site.stack is None and site.lives:
                what = f"run {run.path.name} has open undo records, and its stack runs without a state file"
                remedy = f"nothing until {site.folder / 'stack.json'} is back, or that stack has been ended"
                yield site.leftover("journal", what, remedy, cannot(FaultError(remedy)))
                continue
            if why := _strange(site, entries):
                what = f"run {run.path.name} has an undo record that is not of this stack ({why})"
                remedy = "nothing: roll back by hand what it means, then move the folder out of runs/"
                yield site.leftover("record", what, remedy, cannot(FaultError(remedy)))
                continue
            names = ", ".join(f"{entry.action} of {entry.target}" for entry in entries)
            what = f"run {run.path.name} died without taking back what it injected: {names}"
            remedy = (
                "it is rolled back" if site.context else "the journal is closed: the stack is gone, and that with it"
            )
            yield site.leftover("journal", what, remedy, partial(_take_back, site, run))


def _open(path: Path) -> bool:
    """Whether something stands open there. What cannot be read is no run of ours: foreign.py names it."""
    try:
        return bool(Journal(path).open_entries())
    except OSError:
        return False


def journal(run: RunFolder) -> Journal:
    """The undo journal of a run."""
    return Journal(run.path / "undo.jsonl")


def _strange(site: Site, entries: Sequence[Undo]) -> str:
    """What of the records is not of the stack that runs, in words; where none runs nothing is done with them."""
    if site.context is None:
        return ""
    return "; ".join(why for entry in entries if (why := belongs.strange(entry, site.context.topology)))


def _take_back(site: Site, run: RunFolder) -> None:
    log = EventLog.later(run)
    try:
        if not any(event.kind == "interrupted" for event in run.events()):
            log.add("interrupted", signal="the harness and its watchdog died; the doctor heals")
        if site.context is None:
            _close(run, log)
        elif problems := heal.take_everything_back(site.context, journal(run), log, HEAL_WITHIN_S, "the doctor"):
            raise FaultError("still injected: " + "; ".join(problems))
    finally:
        log.close()
        with suppress(RecordError):
            records_kept.seal(run)


def _close(run: RunFolder, log: EventLog) -> None:
    for entry in journal(run).open_entries():
        heal.gone_with_the_stack(journal(run), entry, log)
