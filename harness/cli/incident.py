"""``harness incident``: the report of an incident, from a run, or from the history of a Prometheus server."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness.adapters.alertmanager import Alertmanager
from harness.adapters.json_server import Access
from harness.adapters.prometheus import Prometheus
from harness.evidence.history import LOGS, HistoryView
from harness.evidence.record import RunFolder
from harness.model import mapping
from harness.model.errors import UsageError
from harness.model.incident import Report
from harness.run import history, pipeline
from harness.run.history import Wanted
from harness.run.terminal import Console
from reports.incident import document, make, verify
from reports.incident import folder as files
from reports.incident.case import Case
from reports.incident.of_history import HistoryCase
from reports.incident.of_run import RunCase
from reports.incident.scenario import NAME, Again

ORDER, HELP = 84, "the report of an incident, from a run or a Prometheus server; `incident verify FILE` asks again"
#: A report of more than that would be one of another kind.
LONGEST = timedelta(days=2)
_WHEN = "expected a time with its zone, such as 2026-11-28T14:00:00Z or 2026-11-28T15:00:00+01:00, or Unix seconds"
_VERIFY = "verify"
#: By what two reports are of the same.
_SAME = ("run", "server", "from", "until", "selector")


def add(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Of which run; or of which server, from when to when, and what of it."""
    what = "a run folder, e.g. runs/latest; or verify and a file of a report: each number is asked for again"
    parser.add_argument("what", nargs="*", metavar="RUN", help=what)
    of = parser.add_argument_group("from a Prometheus server (docs/incidents.md: PROMETHEUS_TOKEN and others)")
    of.add_argument("--prom", metavar="URL", default=environment.get("PROM"), help="its address [PROM]")
    of.add_argument("--from", dest="since", metavar="TIME", default=environment.get("FROM"), help="[FROM]")
    of.add_argument("--to", dest="until", metavar="TIME", default=environment.get("TO"), help="[TO]")
    selector = "labels that narrow it down, such as 'namespace=\"prod\"' [SELECTOR]"
    of.add_argument("--selector", metavar="LABELS", default=environment.get("SELECTOR") or "", help=selector)
    more = "a file with the names of your metrics, read before those that are known [MAPPING]"
    of.add_argument("--mapping", type=Path, metavar="FILE", default=environment.get("MAPPING") or None, help=more)
    logs = "a folder with the gateways' access logs of that time [LOGS]"
    of.add_argument("--logs", type=Path, metavar="DIR", default=environment.get("LOGS") or None, help=logs)
    manager = "its Alertmanager: who took it on [ALERTMANAGER]"
    of.add_argument("--alertmanager", metavar="URL", default=environment.get("ALERTMANAGER"), help=manager)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to [the run's folder, or runs/incident-…]")


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Write it and print where, 0; or of a file say which numbers differ, 1 where one does."""
    if options.what[:1] == [_VERIFY]:
        if len(options.what) != 2:
            given = len(options.what) - 1
            raise UsageError(f"verify: found {given} files, expected one: incident.md, incident.html or incident.json")
        return again(Path(options.what[1]).resolve(), options.mapping)
    if len(options.what) > 1 or bool(options.what) == bool(options.prom):
        found = [*(f"the run {one}" for one in options.what), *([f"PROM={options.prom}"] if options.prom else [])]
        said = " and ".join(found) or "neither"
        raise UsageError(
            f"found {said}, expected one run (RUN=), or a server with --from and --to (PROM=): one of them"
        )
    if options.out:
        _expect_folder(options.out)
    if options.what:
        run = Path(options.what[0]).resolve()
        out = options.out or run
        return _written(RunCase(RunFolder(run), _named(out)), out)
    since, until = when(options.since, "--from"), when(options.until, "--to")
    if until <= since:
        said = f"--from {since:%F %T} and --to {until:%F %T} UTC"
        raise UsageError(f"found {said}, expected a --to that is later than --from: are they the wrong way round?")
    if until - since > LONGEST:
        said = f"from {since:%F %T} to {until:%F %T} UTC are {until - since}"
        raise UsageError(f"{said}, expected at most {LONGEST}")
    out = options.out or pipeline.ROOT / "runs" / f"incident-{since:%Y%m%d-%H%M%S}"
    wanted = Wanted(
        since.timestamp(), until.timestamp(), options.selector, _mappings(options.mapping), options.logs
    )  # fmt: skip
    return _written(of_server(options.prom, wanted, out, options.alertmanager or "", options.mapping), out)


def of_server(url: str, wanted: Wanted, folder: Path, alertmanager: str = "", mine: Path | None = None) -> HistoryCase:
    """Fetch what the server, and Alertmanager where one is named, have into ``folder``, as the evidence of a report.

    ``mine`` is the mapping of the user's own among those that are ``wanted``.
    """
    console = Console(stderr=True, highlight=False)
    with ExitStack() as open_:
        server = open_.enter_context(closing(Prometheus(Access.of(url, os.environ))))
        manager = None
        if alertmanager:
            access = Access.of(alertmanager, os.environ, "ALERTMANAGER", "ALERTMANAGER")
            manager = open_.enter_context(closing(Alertmanager(access)))
        history.fetch(server, wanted, folder, lambda text: console.print(f"asking for {text}", markup=False), manager)
    return HistoryCase(HistoryView(folder), _named(folder), str(mine or ""))


def again(file: Path, mine: Path | None) -> int:
    """Ask for each number of a report again, of its run or its server; 0 where all are the same, else 1."""
    made_from = document.read(_text(file.with_name(files.DOCUMENT))).made_from
    found = verify.differences(file, _made_again(file, made_from, mine))
    for one in found:
        print(f"{one.id}: the file says {one.shown or 'nothing'}, asked again it is {one.asked or 'nothing'}")
    same = "every number is the same when it is asked for again"
    print(f"{file}: {same if not found else '1 number differs' if len(found) == 1 else f'{len(found)} numbers differ'}")
    return 1 if found else 0


def _made_again(file: Path, made_from: Mapping[str, str], mine: Path | None) -> Report:
    if run := made_from.get("run"):
        folder = file.parent if (file.parent / "plan.json").exists() else pipeline.ROOT / "runs" / run
        return make.report(RunCase(RunFolder(folder)))
    try:
        since, until = float(made_from["from"]), float(made_from["until"])
        server, selector = made_from["server"], made_from["selector"]
        mine = mine or (Path(named) if (named := made_from.get("mapping")) else None)
        if not 0 < until - since <= LONGEST.total_seconds():
            raise ValueError(f"from {since} until {until}")
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"{file.with_name(files.DOCUMENT)}: expected made_from with a run, or with server, from, until and "
            f"selector; found {error!r:.100}"
        ) from error
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wanted = Wanted(since, until, selector, _mappings(mine))
        of_server(server, wanted, folder, made_from.get("alertmanager", ""))
        if (logs := file.with_name(LOGS)).exists():  # no server has them
            shutil.copyfile(logs, folder / LOGS)
        return make.report(HistoryCase(HistoryView(folder)))


def _expect_folder(out: Path) -> None:
    """UsageError where it is a file, or below one: before anything is asked."""
    there = next(one for one in (out, *out.parents) if one.exists())
    if not there.is_dir():
        raise UsageError(f"--out {out}: found the file {there}, expected a folder or nothing")


def _named(folder: Path) -> str:
    """As commands name it, which run in the checkout."""
    whole = folder.resolve()
    return str(whole.relative_to(pipeline.ROOT) if whole.is_relative_to(pipeline.ROOT) else whole)


def _mappings(mine: Path | None) -> tuple[mapping.Mapping, ...]:
    return (*([mapping.read(mine)] if mine else []), *mapping.shipped())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: expected what the report was written with, found {error}") from error


def _written(case: Case, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    before = _was_of(folder / files.DOCUMENT)
    if any(name in before and before[name] != case.made_from.get(name) for name in _SAME):
        print(
            f"drillyard: {folder} held the report of something else; what people wrote there is in this one now, and "
            "--out names another folder",
            file=sys.stderr,
        )
    again_by = case.again()
    for warning in files.write(make.report(case), again_by, folder):
        print(f"drillyard: {warning}", file=sys.stderr)
    for name in (files.PAGE, files.MARKDOWN, files.DOCUMENT, *([NAME] if isinstance(again_by, Again) else [])):
        print(folder / name)
    return 0


def _was_of(path: Path) -> Mapping[str, str]:
    """What an earlier report was made from; nothing where there is none."""
    try:
        return document.read(path.read_text(encoding="utf-8")).made_from
    except (OSError, UnicodeDecodeError, UsageError):
        return {}


def when(text: str | None, name: str) -> datetime:
    """A moment in UTC. UsageError for what is none, or has no zone: whose clock it is must be said."""
    if not text:
        raise UsageError(f"{name} is missing, {_WHEN}")
    try:
        found = datetime.fromtimestamp(float(text), UTC) if _is_number(text) else datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise UsageError(f"{name} {text!r} has no time zone, {_WHEN}")
        return found.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"{name} {text!r}: {_WHEN}") from error


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()
