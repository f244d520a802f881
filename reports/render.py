"""Writes page, ``junit.xml`` and ``ctrf.json`` of a run folder, whatever the verdict, and from the folder alone."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from types import ModuleType

import jinja2
from markupsafe import Markup

from harness.evidence.record import RunFolder, replacing
from harness.evidence.view import RunView
from harness.judge import runbook, verdicts
from harness.model.verdict import Status, Verdict
from reports import ctrf, junit, panel
from reports.panels import validity

REPORTS = Path(__file__).parent
TEMPLATES = REPORTS / "templates"


def render(folder: RunFolder) -> Path:
    """Write all files; the path of the page.

    RunFolderError when plan or verdict cannot be read, RecordError when a file cannot be written.
    """
    view, verdict = RunView(folder), verdicts.read(folder)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("report.html.j2").render(
        plan=view.plan,
        verdict=verdict,
        badge=panel.badge,
        counts={status: sum(c.status == status for c in verdict.checks) for status in panel.STATUS_WORDS},
        panels=[
            (module.__name__.rsplit(".", 1)[-1], module.TITLE, _body(module, view, verdict))
            for module in _ordered(verdict)
        ],
        advice=_advice(view, verdict),
        style=_together("templates/report.css", "templates/timeline.css", "vendor/uPlot.min.css"),
        script=_together("vendor/uPlot.iife.min.js", "templates/report.js"),
    )
    path = folder.path / "report.html"
    others = {"junit.xml": junit.render(view, verdict), "ctrf.json": ctrf.of_run(view, verdict)}
    for name, text in {path.name: page, **others}.items():
        with replacing(folder.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return path


def _together(*files: str) -> Markup:
    """Files of this folder as one, as they are: they are ours, or of ``vendor/``."""
    return Markup("\n".join((REPORTS / file).read_text(encoding="utf-8") for file in files))


def _ordered(verdict: Verdict) -> list[ModuleType]:
    """The panels in the order of the page. Where the run was not valid, that comes before what it kept from judging."""
    first = verdict.status is Status.INCONCLUSIVE and _invalid(verdict)
    return sorted(panel.every(), key=lambda module: not (first and module is validity))


def _invalid(verdict: Verdict) -> bool:
    return any(finding.status is not Status.PASS for finding in verdict.validity)


def _advice(view: RunView, verdict: Verdict) -> Markup:
    """What to do, "" after a PASS: the runbook's entries for what failed, with the others folded."""
    failed = [check.name for check in verdict.checks if check.status is Status.FAIL]
    wanted, others = runbook.chosen(str(view.plan.get("runbook", "")), failed)
    if verdict.status is Status.FAIL:
        return _text(wanted) + (_folded("The runbook's other entries", others) if others else Markup(""))
    if verdict.status is Status.PASS:
        return Markup("")
    where = f"«{validity.TITLE}»" if _invalid(verdict) else "the checks without PASS"
    return Markup(
        "<p>No check failed, but some could not be judged. The lines of {} above say why. Mend the first cause "
        "and run the drill again:</p><pre>{}</pre>{}"
    ).format(where, view.plan.get("command", ""), _folded("The runbook, for checks that fail", wanted + others))


def _folded(summary: str, text: str) -> Markup:
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, _text(text))


def _text(text: str) -> Markup:
    return Markup('<pre class="prose">{}</pre>').format(_prose(text))


def _prose(text: str) -> Markup:
    """The two marks that runbooks use, bold and code; everything else stays text."""
    marked = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(Markup.escape(text)))
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", marked))


def _body(module: object, view: RunView, verdict: Verdict) -> Markup:
    """One panel; a panel that crashes is shown as such: the rest of the page is needed all the more then."""
    try:
        body: Markup = module.html(view, verdict)  # type: ignore[attr-defined]
    except Exception:
        return Markup('<p class="nodata">This part could not be drawn:</p><pre>{}</pre>').format(traceback.format_exc())
    return body
