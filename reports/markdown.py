"""Text in Markdown: whatever servers or names hold is shown, and means nothing."""

from __future__ import annotations

import html
import re

_MARKS = re.compile(r"([\\`*_{}\[\]()#|~!-])")


def text(value: object) -> str:
    """One line, no mark, no element, no link of its own, nobody mentioned, nothing that a terminal obeys."""
    escaped = line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKS.sub(r"\\\1", escaped).replace("://", "&#58;//").replace("@", "&#64;").replace("www.", "www&#46;")


def line(value: object) -> str:
    """It on one line, without what a terminal obeys, with single spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())


def shown(markdown: str) -> str:
    """What people see of ``text``: its inverse, but for what ``line`` has dropped."""
    return html.unescape(re.sub(r"\\([^A-Za-z0-9\s])", r"\1", markdown))


def cut(value: str, characters: int) -> str:
    """So many characters of it at most."""
    return value if len(value) <= characters else f"{value[: characters - 1]}…"
