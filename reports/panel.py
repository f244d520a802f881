"""What panels are made with: finding them, tables, numbers as people write them."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from harness.evidence.view import RunView

TEMPLATES = Path(__file__).parent / "templates"
STATUS_WORDS = {"PASS": "PASS", "FAIL": "FAIL", "INCONCLUSIVE": "INCONCLUSIVE", "SKIPPED": "SKIPPED"}


def every() -> list[ModuleType]:
    """All panel modules in the order of the page."""
    package = importlib.import_module("reports.panels")
    modules = [importlib.import_module(f"reports.panels.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    return sorted(modules, key=lambda module: int(module.ORDER))


def template(name: str) -> jinja2.Template:
    """A page's template: what is put in is escaped unless it is Markup, and what is missing is an error."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(name)


def report_address(run: Path, beside: Path) -> str:
    """The address of the report of the run in ``run``, as a page in ``beside`` links to it; "" where there is none."""
    report = run / "report.html"
    return quote(os.path.relpath(report, beside), errors="surrogateescape") if report.is_file() else ""


def table(head: Sequence[str], rows: Iterable[Sequence[object]], css: str = "") -> Markup:
    """A table. Cells are escaped unless they are Markup; None is shown as «not measured»."""
    body = [list(row) for row in rows]
    if not body:
        return Markup('<p class="nodata">none</p>')
    cells = "".join(f'<th scope="col">{Markup.escape(title)}</th>' for title in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row) + "</tr>" for row in body)
    return _scrolling(f"<thead><tr>{cells}</tr></thead><tbody>{lines}</tbody>", css)


def shortened(head: Sequence[str], rows: Sequence[Sequence[object]], most: int, rest: str = "") -> Markup:
    """A table of the first ``most`` rows; the others are folded below it, as ``rest`` says what they are."""
    if len(rows) <= most:
        return table(head, rows)
    more = Markup("<details><summary>and {} more{}</summary>{}</details>")
    return table(head, rows[:most]) + more.format(len(rows) - most, rest, table(head, rows[most:]))


def facts(rows: Iterable[tuple[str, object]]) -> Markup:
    """A table of names and what they are, as ``table`` shows values; a name of "" is that of the row before."""
    head = Markup('<th scope="row">{}</th>')
    lines = "".join(
        f"<tr>{head.format(name) if name else '<td></td>'}<td>{cell(value)}</td></tr>" for name, value in rows
    )
    return _scrolling(f"<tbody>{lines}</tbody>", "facts")


def _scrolling(inside: str, css: str) -> Markup:
    """A table that scrolls by itself, with the keyboard, too, where the page is narrower."""
    return Markup(f'<div class="scroll" tabindex="0"><table class="{css}">{inside}</table></div>')


def anchor(kind: str, name: str) -> str:
    """The id of an element about something that has a name: letters, digits and dashes."""
    return f"{kind}-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"


def moment(view: RunView, phase: str | None) -> Markup:
    """A link to a phase in the timeline, by its fault where it has one; "" where it never began."""
    span = view.phase(phase) if phase else None
    if span is None:
        return Markup("")
    begin, end = (span.fault_start_s or span.start_s), (span.fault_end_s or span.end_s)
    lasted = f"from {begin:.1f} s on" if end is None else f"{begin:.1f} s to {end:.1f} s"
    return stretch(f"{phase} in the timeline ({lasted})", begin, end)


def stretch(text: str, begin_s: float, end_s: float | None) -> Markup:
    """A link to a stretch of the timeline, in seconds since the run's zero; without an end to its beginning."""
    known = Markup("") if end_s is None else Markup(' data-to="{:.1f}"').format(end_s)
    return Markup('<a href="#timeline" data-from="{:.1f}"{}>{}</a>').format(begin_s, known, text)


def cell(value: object) -> Markup:
    """One value as a table shows it."""
    if value is None:
        return Markup('<span class="nodata">not measured</span>')
    return Markup.escape(number(value) if isinstance(value, float) else value)


def number(value: float, unit: str = "") -> str:
    """Three significant digits, whole numbers above a hundred, with the unit."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def badge(status: str) -> Markup:
    """PASS, FAIL, INCONCLUSIVE or SKIPPED as a coloured word (a word, so that colour is not needed)."""
    return Markup(f'<span class="badge {status.lower()}">{STATUS_WORDS[status]}</span>')
