"""What holds for all tests."""

from __future__ import annotations

import pytest

TALLY = "tally"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tallies that tests recorded (``record_property``), wherever these ran."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in getattr(report, "user_properties", ()):
                if name == TALLY:
                    terminalreporter.write_line(str(value))
