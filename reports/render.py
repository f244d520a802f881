"""Writes ``report.html`` and ``junit.xml`` of a run folder, whatever the verdict, and from the folder alone."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import jinja2
from markupsafe import Markup

from harness.evidence.record import RunFolder, replacing
from harness.evidence.view import RunView
from harness.judge import verdicts
from harness.model.verdict import Verdict
from reports import junit, panel

TEMPLATES = Path(__file__).parent / "templates"


def render(folder: RunFolder) -> Path:
    """Write both files; the path of the page.

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
            (module.__name__.rsplit(".", 1)[-1], module.TITLE, _body(module, view, verdict)) for module in panel.every()
        ],
        runbook=_prose(str(view.plan.get("runbook", ""))),
        style=Markup((TEMPLATES / "report.css").read_text()),
        script=Markup((TEMPLATES / "report.js").read_text()),
    )
    path = folder.path / "report.html"
    for file, text in ((path, page), (folder.path / "junit.xml", junit.render(view, verdict))):
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return path


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
