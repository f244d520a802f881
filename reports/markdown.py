"""Text in Markdown: whatever servers or names hold is shown, and means nothing."""

from __future__ import annotations

import re

_MARKS = re.compile(r"([\\`*_{}\[\]()#|~!-])")


def text(value: object) -> str:
    """One line, no mark, no element, no link of its own, nobody mentioned, nothing that a terminal obeys."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKS.sub(r"\\\1", line).replace("://", "&#58;//").replace("@", "&#64;").replace("www.", "www&#46;")


def cut(value: str, characters: int) -> str:
    """So many characters of it at most."""
    return value if len(value) <= characters else f"{value[: characters - 1]}…"
