"""harness/run/terminal.py: a terminal is shown what servers say, and obeys none of it."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from harness.model import redact
from harness.run.terminal import Console

#: The title of the window, the clipboard, a line above painted over, colours, eight-bit controls, turned-around text.
HOSTILE = "v1\x1b]0;title\x07\x1b]52;c;eA==\x07\x1b[1A\x1b[2Kverdict: PASS\r\x1b[31m\x9b2J\x08\u202edetrevni"
SHOWN = HOSTILE.translate(dict.fromkeys(map(ord, "\x07\x08\r\x1b\x9b\u202e"), "\ufffd"))


def test_what_is_printed_holds_no_control_character() -> None:
    """As print() writes it; lines and tabs stay."""
    out = io.StringIO()
    print(f"model {HOSTILE}\n\tnext", file=redact.Stream(out))  # type: ignore[arg-type]
    assert out.getvalue() == f"model {SHOWN}\n\tnext\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_console_keeps_its_own_colours_only(terminal: bool) -> None:
    """In texts, in cells of tables and in a live status, through the stream that redacts and without one."""
    for wrapped in (True, False):
        out = io.StringIO()
        file = redact.Stream(out) if wrapped else out
        colours = "standard" if terminal else None
        console = Console(file=file, force_terminal=terminal, width=200, color_system=colours, highlight=False)
        console.print(f"[red]{SHOWN[:2]}[/red]", HOSTILE, soft_wrap=True)
        table = Table("id")
        table.add_row(HOSTILE)
        console.print(table)
        with console.status("served by " + HOSTILE):
            pass
        written = out.getvalue()
        assert written.count("verdict: PASS") >= 2
        assert not {"\x07", "\x08", "\x9b", "\u202e"} & set(written)
        for sequence in ("\x1b]", "\x1b[1A\x1b[2Kverdict", "\x1b[31m\x9b", "\rverdict"):
            assert sequence not in written
        assert ("\x1b[31mv1\x1b[0m" in written) == terminal
