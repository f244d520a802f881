"""The dead man's switch: a night that never began tells nobody, so somebody else asks whether there was one.

Read are the ``suite.json`` of the nights below ``runs/``. One that cannot be read counts as a night that has not ended.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.model.errors import RunFolderError
from harness.model.night import FILE, Night, folders, read
from harness.model.notify import Event
from harness.model.verdict import JUDGED

DAY = dt.timedelta(days=1)
#: A drill that was judged in none of so many nights running is reported.
NIGHTS = 3


def nights(runs: Path) -> list[Night]:
    """The nights below ``runs``, by their start; of one whose file cannot be read only that it has not ended."""
    return sorted(map(_read, folders(runs)), key=lambda one: one.started)


def _read(folder: Path) -> Night:
    try:
        return read(folder)
    except RunFolderError:
        written = 0.0
        with suppress(OSError):
            written = (folder / FILE).stat().st_mtime
        begun = dt.datetime.fromtimestamp(written, dt.UTC)
        return Night(suite="", run_id=folder.name, seed=0, started=begun, ended=None, commit="", machine="")


def check(found: Sequence[Night], suite: str, by: dt.time, now: dt.datetime) -> list[Event]:
    """What people should hear of the nights of ``suite``; nothing when all is well.

    ``missing``: none has ended since 24 hours before the last ``by``, a time of day in the zone of ``now``.
    ``not_judged``: entries of the last night that have neither PASS nor FAIL in any of the last three. Pure.
    """
    ours = sorted((night for night in found if night.suite in (suite, "")), key=lambda night: night.started)
    return [*_missing(ours, suite, by, now), *_not_judged(ours, suite)]


def _missing(ours: Sequence[Night], suite: str, by: dt.time, now: dt.datetime) -> list[Event]:
    due = now.replace(hour=by.hour, minute=by.minute, second=0, microsecond=0)
    due = due if due <= now else due - DAY
    ended = [night for night in ours if night.ended is not None and night.ended <= now]
    if any(night.ended > due - DAY for night in ended if night.ended is not None):
        return []
    last = max(ended, key=lambda night: night.ended or night.started, default=None)
    told = [f"the last night that ended: {last.run_id} ({_words(last.ended)})" if last else "none has ever ended"]
    told += [f"begun since, and not ended: {night.run_id} ({_words(night.started)})" for night in ours
             if night.ended is None and night.started > due - DAY]  # fmt: skip
    headline = f"{suite}: no finished night by {due:%H:%M} of {due:%Y-%m-%d}"
    return [Event("missing", suite, last.run_id if last else "", headline, tuple(told))]


def _not_judged(ours: Sequence[Night], suite: str) -> list[Event]:
    last = [night for night in ours if night.suite][-NIGHTS:]
    if len(last) < NIGHTS:
        return []
    statuses = {name: [night.statuses.get(name, "absent") for night in last] for name in last[-1].statuses}
    sick = {name: seen for name, seen in statuses.items() if not {*seen} & {*JUDGED, "absent"}}
    if not sick:
        return []
    told = tuple(f"{name}: {', '.join(status or 'not run' for status in seen)}" for name, seen in sick.items())
    headline = f"{suite}: {len(sick)} of {len(statuses)} not judged for {NIGHTS} nights running"
    return [Event("not_judged", suite, last[-1].run_id, headline, told)]


def _words(when: dt.datetime | None) -> str:
    return "" if when is None else f"{when.astimezone():%Y-%m-%d %H:%M}"
