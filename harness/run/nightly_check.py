"""The dead man's switch: a night that never began reports nothing, so another job asks whether there was one.

Read are the ``suite.json`` of the nights below ``runs/``. One that cannot be read counts as a night that has not ended.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.model import night
from harness.model.errors import RunFolderError
from harness.model.night import FILE, UNJUDGED_NIGHTS, Night, folders, read
from harness.model.notify import Event
from harness.model.verdict import Status

DAY = dt.timedelta(days=1)
#: After its end a night makes its page, and each receiver has some seconds.
NOTIFIES_WITHIN = dt.timedelta(minutes=30)


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

    ``missing``: none has ended since 24 hours before the last ``by``, a time of day in the zone of ``now``; or the last
    one was killed before it notified its receivers.
    ``not_judged``: entries of the last night that have neither PASS nor FAIL in the last three that had them. Pure.
    """
    ours = sorted((one for one in found if one.suite in (suite, "")), key=lambda one: one.started)
    return [*_missing(ours, suite, by, now), *_unreported(ours, suite, now), *_not_judged(ours, suite)]


def _missing(ours: Sequence[Night], suite: str, by: dt.time, now: dt.datetime) -> list[Event]:
    due = now.replace(hour=by.hour, minute=by.minute, second=0, microsecond=0)
    due = due if due <= now else due - DAY
    ended = [one for one in ours if one.ended is not None and one.ended <= now]
    if any(one.ended > due - DAY for one in ended if one.ended is not None):
        return []
    last = max(ended, key=lambda one: one.ended or one.started, default=None)
    details = [f"the last night that ended: {last.run_id} ({_words(last.ended)})" if last else "none has ever ended"]
    details += [f"begun since, and not ended: {one.run_id} ({_words(one.started)})" for one in ours
             if one.ended is None and one.started > due - DAY]  # fmt: skip
    headline = f"{suite}: no finished night by {due:%H:%M} of {due:%Y-%m-%d}"
    return [Event("missing", suite, last.run_id if last else "", headline, tuple(details))]


def _unreported(ours: Sequence[Night], suite: str, now: dt.datetime) -> list[Event]:
    """Of the last night that ended, unless it may still be making its page."""
    ended = [one for one in ours if one.ended is not None and now - one.ended > NOTIFIES_WITHIN]
    if not ended or ended[-1].told is not False:
        return []
    last = ended[-1]
    headline = (
        f"{suite}: {last.run_id} has ended ({_words(last.ended)}) and notified nobody; `harness nightly --resume` does"
    )
    details = tuple(f"{name}: {status or 'not run'}" for name, status in last.statuses.items() if status != Status.PASS)
    return [Event("missing", suite, last.run_id, headline, details)]


def _not_judged(ours: Sequence[Night], suite: str) -> list[Event]:
    known = [one for one in ours if one.suite]
    sick = night.unjudged(known)
    if not sick:
        return []
    last = known[-1]
    details = tuple(f"{name}: {_statuses(name, since)}" for name, since in sorted(sick.items()))
    headline = f"{suite}: {len(sick)} of {len(last.entries)} not judged for {UNJUDGED_NIGHTS} nights running"
    return [Event("not_judged", suite, last.run_id, headline, details)]


def _statuses(name: str, since: Sequence[Night]) -> str:
    """Of the last nights that count, the oldest first."""
    return ", ".join(one.statuses[name] or "not run" for one in since[UNJUDGED_NIGHTS - 1 :: -1])


def _words(when: dt.datetime | None) -> str:
    return "" if when is None else f"{when.astimezone():%Y-%m-%d %H:%M}"
