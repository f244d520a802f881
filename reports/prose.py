"""Texts that people wrote, as HTML: hypotheses, runbooks. Two marks are drawn, everything else stays text."""

from __future__ import annotations

import re

from markupsafe import Markup


def inline(text: str) -> Markup:
    """``**bold**`` and code in backticks."""
    marked = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(Markup.escape(text)), flags=re.DOTALL)
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", marked))


def block(text: str) -> Markup:
    """Several lines of a runbook, as they were broken."""
    return Markup('<div class="prose">{}</div>').format(inline(text.strip()))


def folded(summary: str, text: str) -> Markup:
    """Lines that are there for who opens them."""
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, block(text))
