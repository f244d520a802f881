"""Texts that people wrote, as HTML: hypotheses, runbooks. Two marks are drawn, everything else stays text."""

from __future__ import annotations

import re

from markupsafe import Markup


def inline(text: str) -> Markup:
    """``**bold**`` and code in backticks."""
    marked = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(Markup.escape(text)), flags=re.DOTALL)
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", marked))


def block(text: str) -> Markup:
    """Lines of a runbook: what it says first as a paragraph, then its entries, each with its dash, as a list."""
    first, *entries = re.split(r"^- ", text.strip(), flags=re.MULTILINE)
    said = Markup("<p>{}</p>").format(inline(first)) if first.strip() else Markup("")
    listed = Markup("").join(Markup("<li>{}</li>").format(inline(entry)) for entry in entries)
    return Markup('<div class="prose">{}{}</div>').format(
        said, Markup("<ul>{}</ul>").format(listed) if entries else Markup("")
    )


def folded(summary: str, text: str) -> Markup:
    """Lines that are there for who opens them."""
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, block(text))
