"""The page of a night, with the nights before it: what failed, since when, how sure that is, what was never tried.

Written to ``runs/nightly-<date>/index.html``; one file that needs no network and no JavaScript.
"""

from __future__ import annotations

import datetime as dt
import functools
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from markupsafe import Markup

from harness.evidence.index import IndexedRun
from harness.evidence.record import replacing
from harness.judge import failure_modes
from harness.model.night import Night
from reports import panel
from reports.nights import changes, coverage, draw, flakiness, matrix, regressions, spark, tonight, trend
from reports.nights.coverage import Covered
from reports.nights.matrix import Matrix
from reports.nights.regressions import Step, Unjudged
from reports.nights.trend import Series, Trend

PAGE = "index.html"
#: So many nights are looked at for change points and drawn.
TREND_NIGHTS_MAX = 60
_CSS = {"PASS": "pass", "FAIL": "fail", "REGRESSION": "fail", "INCONCLUSIVE": "inconclusive"}


@dataclass(frozen=True)
class History:
    """What the page is made from: nights, runs and series of all machines, and what could not be read, in words."""

    nights: Sequence[Night] = ()
    runs: Sequence[IndexedRun] = ()
    series: Series = field(default_factory=dict)
    unreadable: Sequence[str] = ()


@dataclass(frozen=True)
class _Machine:
    """All that is known of one machine's nights."""

    matrix: Matrix
    trends: Sequence[Trend]
    steps: Sequence[Step]
    unjudged: Sequence[Unjudged]


def write(history: History, folder: Path, command: Sequence[str] = ()) -> Path:
    """Write the page of the night in ``folder`` into it; its path. RecordError where it cannot be written."""
    path = folder / PAGE
    with replacing(path) as temporary:
        temporary.write_text(render(history, folder, command), encoding="utf-8")
    return path


def render(history: History, folder: Path, command: Sequence[str] = ()) -> str:
    """The page as it stands in ``folder``: links to reports are relative to that. ``command`` makes it again.

    First comes the night of ``folder`` with those before it on its machine; where there is none, the newest of all.
    """
    names = {run.machine: run.machine_name for run in history.runs}
    history, machine = _as_of(history, folder.name)
    machines = [_machine(found, history) for found in matrix.of(history.nights, names)]
    machines.sort(key=lambda one: one.matrix.machine != machine)
    style = "".join((panel.TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "nightly.css"))
    return panel.template("nightly.html.j2").render(
        **_head(machines),
        sections=[(id_, name, body) for id_, name, body in _sections(machines, history, folder) if body],
        style=Markup(style),
        marker=spark.MARKER,
        made=f"Made from {len(history.nights)} nights and {len(history.runs)} runs. To make it again:",
        command=shlex.join(command),
    )


def _as_of(history: History, name: str) -> tuple[History, str | None]:
    """Without the nights that its machine has dated after the night of that name: a clock may have gone back.

    And that machine; None where there is no such night. Of two of one name it is the first, that of this checkout.
    """
    own = next((one for one in history.nights if one.run_id == name), None)
    if own is None:
        return history, None
    nights = [one for one in history.nights if one.machine != own.machine or one.started <= own.started]
    return replace(history, nights=nights), own.machine


def worse(history: History, night: Night) -> dict[tuple[str, str], str]:
    """What is worse as of ``night``, by entry and series ("" for a drill that is no longer judged).

    Compared are the nights of its suite on its machine: what another suite drilled is not this one's to tell.
    """
    place = (night.suite, night.machine)
    own = [one for one in history.nights if (one.suite, one.machine) == place and one.started <= night.started]
    lines = dict[tuple[str, str], str]()
    for found in matrix.of(own, {}):
        machine = _machine(found, replace(history, nights=own))
        for step in machine.steps:
            lines[tonight.entry(step), step.trend.key.id] = tonight.step(step)
        for one in machine.unjudged:
            lines[one.entry, ""] = tonight.no_verdict(one)
    return lines


def _machine(found: Matrix, history: History) -> _Machine:
    nights = sorted((n for n in history.nights if n.machine == found.machine), key=lambda n: (n.started, n.run_id))
    known = trend.Known(functools.cache(changes.marks), functools.cache(trend.objectives))
    trends = trend.of(nights[-TREND_NIGHTS_MAX:], history.series, known)
    return _Machine(found, trends, regressions.steps(trends), regressions.unjudged(found))


def _head(machines: Sequence[_Machine]) -> dict[str, object]:
    """Title, verdict and sentence of the newest night of all; one line for each other machine."""
    if not machines:
        return {
            "title": "No night yet", "crumb": "Drillyard · nightly drills", "css": "inconclusive", "word": "",
            "heading": "No night yet", "others": [],
            "sentence": "No night that can be read was found in these folders. To run one: make nightly",
        }  # fmt: skip
    first, *rest = machines
    night = first.matrix.nights[-1]
    word = tonight.status(night, bool(first.steps or first.unjudged))
    ran = f"{night.started:%Y-%m-%d %H:%M} UTC" + (f" to {night.ended:%H:%M}" if night.ended else ", interrupted")
    where = [first.matrix.name, f"commit {night.commit[:12] or 'unknown'}", f"seed {night.seed}"]
    return {
        "title": f"{word} · {night.run_id} · {night.suite}",
        "crumb": " · ".join(["Drillyard", night.suite, ran, *where]),
        "css": _CSS[word],
        "word": word,
        "heading": f"Night of {matrix.day(night)}",
        "sentence": tonight.sentence(night, first.trends, first.steps, first.unjudged),
        "others": [_other(machine) for machine in rest],
    }


def _other(machine: _Machine) -> str:
    night = machine.matrix.nights[-1]
    said = tonight.sentence(night, machine.trends, machine.steps, machine.unjudged)
    return f"On {machine.matrix.name}, night of {matrix.day(night)}: {said}"


def _sections(machines: Sequence[_Machine], history: History, folder: Path) -> list[tuple[str, str, Markup]]:
    """(id, title, body) of each part, in the order of the page; a part without a body is left out."""
    link = _linker(history.runs, folder)
    joined = Markup("").join
    parts = [("matrix", "Results by night", joined(matrix.draw(one.matrix, link) for one in machines))]
    if machines:
        steps = [(one.matrix.name, one.steps, one.unjudged) for one in machines]
        parts[0] = ("matrix", "Results by night", draw.legend() + parts[0][2] + draw.not_run(machines[0].matrix))
        parts += [
            ("regressions", "What got worse", draw.regressions(steps, link)),
            ("trends", "Trends", joined(draw.trends(one.matrix.name, one.trends, link) for one in machines)),
            (
                "flakiness",
                "Flakiness",
                joined(draw.flakiness(one.matrix.name, flakiness.of(one.matrix)) for one in machines),
            ),
        ]
    parts.append(("coverage", "Coverage of failure modes", draw.coverage(*_covered(machines, history), link)))
    parts.append(("unreadable", "Not readable", draw.unreadable(history.unreadable)))
    return parts


def _covered(machines: Sequence[_Machine], history: History) -> tuple[list[Covered], list[str]]:
    """The coverage as of the newest night, or run where there is no night; and the scenarios that could not be read."""
    times = [one.matrix.nights[-1].started for one in machines] or [run.started for run in history.runs]
    now = max(times, default=dt.datetime.now(dt.UTC))
    uses, unreadable = failure_modes.used()
    return coverage.of(failure_modes.known(), uses, history.runs, now), unreadable


def _linker(runs: Sequence[IndexedRun], folder: Path) -> Callable[[str], str]:
    """Run id → address of its report as seen from ``folder``; "" where there is no report (any more)."""
    folders: Mapping[str, Path] = {run.run_id: run.folder for run in runs}

    @functools.cache
    def link(run_id: str) -> str:
        run = folders.get(run_id)
        return panel.report_address(run, folder) if run else ""

    return link
