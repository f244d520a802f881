"""Writes ``report.html``, ``report.md``, ``junit.xml`` and ``ctrf.json`` of a run folder, whatever the verdict."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import ModuleType

from markupsafe import Markup

from harness.evidence.record import RunFolder, replacing
from harness.evidence.view import RunView
from harness.judge import verdicts
from harness.judge.drill import Drill
from harness.model.verdict import Status, Verdict
from reports import brief, ctrf, junit, panel, prose, since
from reports.panels import validity

REPORTS = Path(__file__).parent


def judged(folder: RunFolder, drill: Drill) -> Verdict:
    """Judge a stored run, and write verdict and page. What both need of its records is read and computed once."""
    view = RunView(folder)
    verdict = verdicts.judge(folder, drill, view)
    verdicts.write(folder, verdict)
    render(folder, since.last_good(folder), view)
    return verdict


def render(folder: RunFolder, last_good: RunFolder | None = None, view: RunView | None = None) -> Path:
    """Write all of them; the path of the page.

    ``last_good`` is the newest earlier PASS of the same series, which the page says what is new against. ``view`` is
    the one that the run was judged through, if it is there.

    RunFolderError when plan or verdict cannot be read, RecordError when a file cannot be written.
    """
    view, verdict = view or RunView(folder), verdicts.read(folder)
    page = panel.template("report.html.j2").render(
        plan=view.plan,
        verdict=verdict,
        badge=panel.badge,
        counts={status: sum(c.status == status for c in verdict.checks) for status in panel.STATUS_WORDS},
        panels=[
            (module.__name__.rsplit(".", 1)[-1], module.TITLE, _body(module, view, verdict))
            for module in _ordered(verdict)
        ],
        valid=validity.line(verdict),
        since=since.line(verdict, last_good, folder),
        prose=prose.inline,
        style=_together("templates/report.css", "templates/timeline.css", "vendor/uPlot.min.css"),
        script=_together("vendor/uPlot.iife.min.js", "templates/report.js"),
    )
    documents = {"report.md": brief.render, "junit.xml": junit.render, "ctrf.json": ctrf.of_run}
    _write(folder, "report.html", page)
    for name, make in documents.items():
        _write(folder, name, make(view, verdict))
    return folder.path / "report.html"


def _write(folder: RunFolder, name: str, text: str) -> None:
    with replacing(folder.path / name) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _together(*files: str) -> Markup:
    """Files of this folder as one, as they are: they are ours, or of ``vendor/``."""
    return Markup("\n".join((REPORTS / file).read_text(encoding="utf-8") for file in files))


def _ordered(verdict: Verdict) -> list[ModuleType]:
    """The panels in the order of the page. Where the run was not valid, that comes before what it kept from judging."""
    first = verdict.status is Status.INCONCLUSIVE and validity.invalid(verdict)
    return sorted(panel.every(), key=lambda module: not (first and module is validity))


def _body(module: object, view: RunView, verdict: Verdict) -> Markup:
    """One panel; a panel that crashes is shown as such: the rest of the page is needed all the more then."""
    try:
        body: Markup = module.html(view, verdict)  # type: ignore[attr-defined]
    except Exception:
        return Markup('<p class="nodata">This part could not be drawn:</p><pre>{}</pre>').format(traceback.format_exc())
    return body
