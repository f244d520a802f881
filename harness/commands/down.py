"""``harness down``: end everything that this checkout started for an instance."""

from __future__ import annotations

from rich.console import Console

from harness.commands import runtime
from harness.commands.options import StackOptions


def down(options: StackOptions, console: Console | None = None) -> int:
    """Take the instance down, in whichever runtime it runs; 0 also when nothing ran."""
    console = console or Console(highlight=False)
    found = runtime.running(options)
    if found is None:
        console.print(f"instance {options.instance}: nothing runs")
        return 0
    stack, _ = found
    stack.down(lambda line: console.print(line, markup=False, soft_wrap=True))
    console.print(f"instance {options.instance} is down")
    return 0
