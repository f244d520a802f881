"""What panels are made with: finding them, tables, numbers as people write them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from types import ModuleType

from markupsafe import Markup

STATUS_WORDS = {"PASS": "PASS", "FAIL": "FAIL", "INCONCLUSIVE": "INCONCLUSIVE", "SKIPPED": "SKIPPED"}


def every() -> list[ModuleType]:
    """All panel modules in the order of the page."""
    package = importlib.import_module("reports.panels")
    modules = [importlib.import_module(f"reports.panels.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    return sorted(modules, key=lambda module: int(module.ORDER))


def table(head: Sequence[str], rows: Iterable[Sequence[object]], css: str = "") -> Markup:
    """A table. Cells are escaped unless they are Markup; None is shown as «not measured»."""
    body = [list(row) for row in rows]
    if not body:
        return Markup('<p class="nodata">none</p>')
    cells = "".join(f"<th>{Markup.escape(title)}</th>" for title in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row) + "</tr>" for row in body)
    return Markup(
        f'<div class="scroll"><table class="{css}"><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table></div>'
    )


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
