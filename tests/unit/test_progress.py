"""What people see while a drill runs."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from harness.adapters.load import Window
from harness.run import progress
from harness.run.progress import Progress, load_line, step_line


def window(started: int = 2, failed: int = 0, ttft: float | None = 120.0, in_flight: int = 3) -> Window:
    """Half a second of load."""
    return Window(1.0, 10, in_flight, started, started - failed, failed, ttft, 1.0)


def piped() -> tuple[Progress, io.StringIO]:
    """A progress that writes into a pipe, and the pipe."""
    text = io.StringIO()
    return Progress(Console(file=text, highlight=False, width=80)), text


def test_without_a_terminal_there_are_plain_lines() -> None:
    """No colours, no cursor movement, one line per fact, however long it is: a CI log stays readable."""
    shown, text = piped()
    shown.say("a fact " + "x" * 200)
    shown.tick("baseline", 12.3, [window()])
    shown.end()
    lines = text.getvalue().splitlines()
    assert len(lines) == 2
    assert "\x1b" not in text.getvalue()
    assert "\r" not in text.getvalue()
    assert re.match(r" +\d+\.\ds a fact x+$", lines[0])
    assert re.search(r"baseline +12 s left +4\.0/s +errors 0 +TTFT p95 120 ms +3 in flight", lines[1])


def test_plain_lines_about_the_load_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ticks a second make one line in five seconds, not ten."""
    clock = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    shown, text = piped()
    for _ in range(40):
        shown.tick("baseline", 9.0, [window()])
        clock[0] += 0.5
    assert len(text.getvalue().splitlines()) == 20 / progress.PLAIN_EVERY_S


def test_what_was_not_sent_is_no_error_of_the_service() -> None:
    """It stands beside the errors, with whose fault it is."""
    line = load_line([replace(window(failed=3), outcomes={"not_sent": 2, "http_5xx": 1})])
    assert "errors 1  NOT SENT 2 (the load generator's own fault)  TTFT" in line
    assert "NOT SENT" not in load_line([window(failed=3)])


def test_markup_in_messages_is_text() -> None:
    """Square brackets of an error message do not vanish as markup."""
    shown, text = piped()
    shown.say("toxiproxy [Errno 111] said [bold]no[/bold] [/]")
    assert "[Errno 111] said [bold]no[/bold] [/]" in text.getvalue()


def test_terminal_gets_one_live_line_which_ends() -> None:
    """On a terminal the load is one line that is drawn over; ``end`` takes it away, twice is harmless."""
    text = io.StringIO()
    shown = Progress(Console(file=text, force_terminal=True, width=100))
    shown.tick("base[line", 5.0, [window()])
    shown.tick("base[line", 4.5, [window()])
    shown.end()
    shown.end()
    assert "\x1b" in text.getvalue()
    assert "base[line" in text.getvalue()


def test_load_line_adds_up_windows() -> None:
    """Rate over all windows, failures summed, the worst TTFT p95, what is in flight now."""
    shown = load_line([window(3, failed=1, ttft=90.0), window(1, ttft=None), window(2, ttft=2100.4, in_flight=7)])
    assert re.sub(r" +", " ", shown).strip() == "4.0/s errors 1 TTFT p95 2100 ms 7 in flight"


def test_nothing_measured_is_said() -> None:
    """No window and no first token are words, not zeros."""
    assert load_line([]) == "no load"
    assert "TTFT p95 none yet" in load_line([window(ttft=None)])


def test_time_left_is_never_negative() -> None:
    """A phase that is asked for its steady state runs over its time."""
    shown, text = piped()
    shown.tick("baseline", -3.0, [])
    assert " 0 s left" in text.getvalue()


def test_step_line_says_where_and_what() -> None:
    """The words of the event; what is empty is not said, and what every step has only once."""
    step = {"fault": "swap/swap/replica-2", "phase": "swap", "on": "replica-2", "step": "decided"}
    assert step_line(step | {"step": "rolled_back"}) == "replica-2: rolled back"
    shown = step_line(step | {"verdict": "promote", "gate": "", "percent": 0})
    assert shown == "replica-2: decided (verdict promote, percent 0)"
