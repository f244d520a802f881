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
from harness.model.notify import Notify
from harness.run import nightly_check
from harness.run.notify import tell

ORDER, HELP = 160, "whether there was a night, and every drill was judged: for a timer"
SUITE, BY = "nightly", "07:00"
NOT_WELL = 1


def add(parser: argparse.ArgumentParser, _: Mapping[str, str]) -> None:
    """Which night, and by when."""
    parser.add_argument("--suite", default=SUITE, metavar="NAME", help=f"[{SUITE}]")
    parser.add_argument("--by", default=BY, metavar="HH:MM", help=f"local time [{BY}]")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Check it."""
    return check(options.suite, options.by)


def check(suite: str, by: str, runs: Path | None = None, config: Notify | None = None) -> int:
    """Say and send what is missing; 1 then, else 0, whether or not anybody could be told. UsageError for a wrong time.

    Receivers are those of ``config``, else of the environment.
    """
    try:
        due = dt.datetime.strptime(by, "%H:%M").time()
    except ValueError:
        raise UsageError(f"--by {by}: expected an hour and its minutes, such as {BY}") from None
    nights = nightly_check.nights(runs or drill.ROOT / "runs")
    events = nightly_check.check(nights, suite, due, dt.datetime.now().astimezone())
    for event in events:
        print(event.text())
    if not events:
        print(f"{suite}: there was a night by {by}, and every drill was judged in one of the last three")
    receivers = notify.from_environment(os.environ) if config is None else config
    tell(events, receivers, lambda text: print(text, file=sys.stderr))
    return NOT_WELL if events else 0
