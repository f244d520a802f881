"""``incident.yaml``: a scenario that brings the recorded fault about again, and the command that runs it.

Of a run it is the run's own scenario. It fails on a stack that is as it was, and passes once the action item is done.
"""

from __future__ import annotations

import hashlib
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from harness.evidence.record import replacing
from harness.model.errors import UsageError
from harness.model.scenario import Scenario

NAME = "incident.yaml"
_DIGEST = "# Generated. Digest of what follows, by which an edit is noticed: "
_WIDTH = 100


@dataclass(frozen=True)
class Again:
    """What brings a fault about again: a drill, its scenario, and how it is run.

    ``folder`` is where reports of it are by default. ``defects`` were switched on when it happened, and ``settings``
    are those of ``make`` beside the scenario. ``said`` are sentences for who reads the file: what it is of, and what is
    not as it was.
    """

    drill: str
    scenario: Scenario
    folder: str
    settings: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

    @property
    def short_command(self) -> str:
        """Runs it on whatever stack is the default."""
        return shlex.join(("make", f"drill-{self.drill}", f"SCENARIO={self.folder}/{NAME}"))

    @property
    def command(self) -> str:
        """Runs it on a stack as it should be, of the kind on which it happened."""
        return " ".join((self.short_command, *map(shlex.quote, self.settings)))

    @property
    def as_it_was(self) -> str | None:
        """Runs it on a stack with the defects of then; None where none is known."""
        if not self.defects:
            return None
        given = " ".join(f"--defect {shlex.quote(one)}" for one in self.defects)
        return f"{self.command} {shlex.quote(f'ARGS={given}')}"

    def text(self) -> str:
        """The file. What a run folder or a server says stands in it as a text or in a comment, and as nothing else."""
        data = yaml.safe_dump(self.scenario.written(), sort_keys=False, allow_unicode=True, width=_WIDTH)
        body = "".join(f"{line}\n" for line in self._comment()) + data
        return f"{_DIGEST}{_digest(body)}\n{body}"

    def _comment(self) -> Iterator[str]:
        for sentence in self.said:
            yield from textwrap.wrap(_one_line(sentence), _WIDTH, initial_indent="# ", subsequent_indent="# ")
        yield f"# Run it: {_one_line(self.command)}"
        if self.as_it_was:
            yield f"# On the stack as it was: {_one_line(self.as_it_was)}"


def write(again: Again, folder: Path) -> str | None:
    """Write the file, unless people have edited the one that is there: then a line that says so.

    UsageError where what is there cannot be read, RecordError where it cannot be written.
    """
    path = folder / NAME
    if not _is_generated(path):
        return f"{path} was edited, so it stays as it is; remove it to have it generated again"
    with replacing(path) as temporary:
        temporary.write_text(again.text(), encoding="utf-8")
    return None


def _is_generated(path: Path) -> bool:
    """Whether it is as it was generated, or not there."""
    try:
        first, _, body = path.read_text(encoding="utf-8").partition("\n")
    except FileNotFoundError:
        return True
    except UnicodeDecodeError:
        return False
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    return first == f"{_DIGEST}{_digest(body)}"


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8")).hexdigest()[:16]


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
