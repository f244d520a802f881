"""The files of an incident report: for people, for a browser, for a tracker; and the scenario that repeats it."""

from __future__ import annotations

import shlex
from pathlib import Path

from harness.evidence.record import replacing
from harness.model.errors import UsageError
from harness.model.incident import Report
from reports.incident import document, markdown, page, people, scenario
from reports.incident.scenario import Again

MARKDOWN, PAGE, DOCUMENT = "incident.md", "incident.html", "incident.json"


def write(report: Report, again: Again | str, folder: Path) -> list[str]:
    """All into ``folder``, each at once or not at all, with what people wrote in the Markdown that is there.

    A line for each region of it that is broken, and for a scenario that people have edited: that is left alone.
    RecordError where one cannot be written, UsageError where what is there cannot be read: what people wrote is not
    replaced.
    """
    report, warnings = people.keep(report, _there(folder / MARKDOWN))
    # The Markdown is last: where another one fails, people still have theirs as it was.
    for name, content in (
        (DOCUMENT, document.render(report)),
        (PAGE, page.render(report, _command(folder / PAGE))),
        (MARKDOWN, markdown.render(report, _command(folder / MARKDOWN))),
    ):
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content.encode("utf-8", "surrogateescape"))
    said = [f"{folder / MARKDOWN}: {warning}" for warning in warnings]
    if isinstance(again, Again) and (edited := scenario.write(again, folder)):
        said.append(edited)
    return said


def _there(path: Path) -> str:
    """Bytes that are no UTF-8 survive, too."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _command(path: Path) -> str:
    return shlex.join([".venv/bin/python", "-m", "harness", "incident", "verify", str(path)])
