"""``harness incident``: the report of an incident, from a run, or from the history of a Prometheus server."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness.adapters.prometheus import Access, Prometheus
from harness.evidence.history import HistoryView
from harness.evidence.record import RunFolder
from harness.model import mapping
from harness.model.errors import UsageError
from harness.model.incident import Report
from harness.run import history, pipeline
from harness.run.history import Wanted
from harness.run.terminal import Console
from reports.incident import files, make
from reports.incident.of_history import HistoryCase
from reports.incident.of_run import RunCase

ORDER, HELP = 84, "the report of an incident, from a run or a Prometheus server"
#: A report of more than that would be one of another kind.
LONGEST = timedelta(days=2)
_WHEN = "expected a time with its zone, such as 2026-11-28T14:00:00Z or 2026-11-28T15:00:00+01:00, or Unix seconds"


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Of which run; or of which server, from when to when, and what of it."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run folder, e.g. runs/latest")
    of = parser.add_argument_group(
        "from a Prometheus server instead (PROMETHEUS_TOKEN, … say how to ask: docs/incidents.md)"
    )
    of.add_argument("--prom", metavar="URL", default=environment.get("PROM"), help="its address [PROM]")
    of.add_argument("--from", dest="since", metavar="TIME", default=environment.get("FROM"), help="[FROM]")
    of.add_argument("--to", dest="until", metavar="TIME", default=environment.get("TO"), help="[TO]")
    selector = "labels that narrow it down, such as 'namespace=\"prod\"' [SELECTOR]"
    of.add_argument("--selector", metavar="LABELS", default=environment.get("SELECTOR") or "", help=selector)
    more = "a file with the names of your metrics, read before those that are known [MAPPING]"
    of.add_argument("--mapping", type=Path, metavar="FILE", default=environment.get("MAPPING"), help=more)
    logs = "a folder with the gateways' access logs of that time [LOGS]"
    of.add_argument("--logs", type=Path, metavar="DIR", default=environment.get("LOGS"), help=logs)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to [the run's folder, or runs/incident-…]")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Write it and print where; 0."""
    if bool(options.run) == bool(options.prom):
        raise UsageError("expected a run, or --prom with --from and --to: one of them")
    if options.run:
        folder = RunFolder(Path(options.run).resolve())
        report, out = make.report(RunCase(folder)), options.out or folder.path
    else:
        out = options.out or _folder(when(options.since, "--from"))
        report = of_server(options, out)
    for path in files.write(report, out):
        print(path)
    return 0


def of_server(options: argparse.Namespace, folder: Path) -> Report:
    """Fetch what the server has into ``folder``; its report. UsageError for times that are none."""
    since, until = when(options.since, "--from"), when(options.until, "--to")
    if not timedelta(0) < until - since <= LONGEST:
        lasts = until - since
        raise UsageError(
            f"from {since:%F %T} to {until:%F %T} UTC are {lasts}, expected more than 0 and at most {LONGEST}"
        )
    mine = [mapping.read(options.mapping)] if options.mapping else []
    mappings = (*mine, *mapping.shipped())
    wanted = Wanted(since.timestamp(), until.timestamp(), options.selector, mappings, options.logs)
    console = Console(stderr=True, highlight=False)
    with closing(Prometheus(Access.of(options.prom, os.environ))) as server:
        history.fetch(server, wanted, folder, lambda text: console.print(f"asking for {text}", markup=False))
    return make.report(HistoryCase(HistoryView(folder)))


def when(text: str | None, name: str) -> datetime:
    """A moment in UTC. UsageError for what is none, or has no zone: whose clock it is must be said."""
    if not text:
        raise UsageError(f"{name} is missing, {_WHEN}")
    try:
        found = datetime.fromtimestamp(float(text), UTC) if _is_number(text) else datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"{name} {text!r}: {_WHEN}") from error
    if found.tzinfo is None:
        raise UsageError(f"{name} {text!r} has no time zone, {_WHEN}")
    return found.astimezone(UTC)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _folder(since: datetime) -> Path:
    return pipeline.ROOT / "runs" / f"incident-{since:%Y%m%d-%H%M%S}"
