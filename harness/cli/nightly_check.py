"""``harness nightly-check``: the dead man's switch of the nights, for a timer of its own."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.judge import drill
from harness.model import notify
from harness.model.errors import UsageError
from harness.model.night import UNJUDGED_NIGHTS
from harness.model.notify import Notify
from harness.plan import suite as suites
from harness.run import nightly_check
from harness.run.notify import tell

ORDER, HELP = 160, "whether there was a night, and every drill was judged: for a timer"
SUITE, BY = "nightly", "07:00"
NOT_WELL = 1


def add(parser: argparse.ArgumentParser, _: Mapping[str, str]) -> None:
    """Which night, and by when."""
    parser.add_argument("--suite", default=SUITE, metavar="NAME", help=f"as for `nightly` [{SUITE}]")
    parser.add_argument("--by", default=BY, metavar="HH:MM", help=f"local time [{BY}]")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Check it."""
    return check(options.suite, options.by)


def check(suite: str, by: str, runs: Path | None = None, config: Notify | None = None) -> int:
    """Say and send what is missing; 1 then, else 0, whether or not anybody could be told. UsageError for a wrong time.

    ``suite`` is a name or a file, as for a night. Receivers are those of ``config``, else of the suite's file, else of
    the environment.
    """
    try:
        due = dt.datetime.strptime(by, "%H:%M").time()
    except ValueError:
        raise UsageError(f"--by {by}: expected an hour and its minutes, such as {BY}") from None
    name, receivers = _of_file(suite)
    nights = nightly_check.nights(runs or drill.ROOT / "runs")
    events = nightly_check.check(nights, name, due, dt.datetime.now().astimezone())
    for event in events:
        print(event.text())
    if not events:
        ended = f"a night has ended since {by} of the day before"
        print(f"{name}: {ended}, and no drill went without a verdict for {UNJUDGED_NIGHTS} nights running")
    receivers = config or receivers or notify.from_environment(os.environ)
    tell(events, receivers, lambda text: print(text, file=sys.stderr))
    return NOT_WELL if events else 0


def _of_file(suite: str) -> tuple[str, Notify | None]:
    """The suite's own name and receivers. One that cannot be read has had no night: that is told all the same."""
    try:
        found = suites.load(suites.find(suite))
    except UsageError as error:
        print(f"{error}; receivers are those of the environment", file=sys.stderr)
        return suite, None
    return found.name, found.notify
