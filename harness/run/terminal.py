"""What goes to a terminal holds no control characters but our own: foreign servers choose names, errors and answers.

A model called ``\\x1b]52;…`` would write into the clipboard of whoever reads a drill's last lines. Everything printed
passes through ``redact.Stream``, which replaces them; ``Console`` replaces them itself in what it is given, and its own
colours and cursor movements go past that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from harness.model import redact


class Console(console.Console):
    """rich's console for text of any origin."""

    @property
    def file(self) -> Any:
        """Where it writes, past the replacement of control characters."""
        found = super().file
        return found.styled if isinstance(found, redact.Stream) else found

    @file.setter
    def file(self, new: Any) -> None:
        console.Console.file.fset(self, new)  # type: ignore[attr-defined]

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments, with control characters only where rich itself put them."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=redact.printable(segment.text))
