"""Every error that Drillyard raises on purpose.

DrillyardError                 exit 70 unless said otherwise; the message is for people
├── UsageError                 exit 64: the user's input or configuration is wrong; nothing was injected
│   ├── ScenarioError          a scenario file: names file, line, what was found, what was expected
│   ├── PortTaken              somebody else listens where a component has to
│   ├── MissingTool            a binary or environment is not there: names the command that brings it
│   ├── UnfitProcessor         the processor lacks what the engine is built for: names it, and the ways out
│   └── RuntimeUnavailable     the chosen runtime cannot be used (no Docker daemon, …)
├── StackError                 exit 2: the stack did what it should not (not ready in time, died, …)
├── AdapterError               exit 2: toxiproxy, a gateway, … answered wrongly or not at all
├── FaultError                 exit 2: a fault could not be injected, proven or healed
│   └── OperationAborted       an operation cannot go on: the run does, and its heal rolls the operation back
├── RecordError                exit 2: a record cannot be written (disk full, file too large, …)
├── Interrupted                exit 130: a signal ended the run, and something else went wrong on its way out
├── Exhausted                  exit 2: no file descriptor, port or memory is left on this machine
└── RunFolderError             exit 64: a run folder is unreadable or of an unknown version

Messages say what was found, what was expected and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class DrillyardError(Exception):
    """Root of the tree. ``exit_code`` is what the process ends with when nobody handles it."""

    exit_code = 70


class UsageError(DrillyardError):
    """The input or configuration is wrong; nothing was injected."""

    exit_code = 64


def require_one_of(setting: str, value: str, known: Iterable[str]) -> None:
    """UsageError for a setting (``ENGINE``) whose ``value`` is not a ``known`` one."""
    if value not in (known := tuple(known)):
        raise UsageError(f"{setting}={value}: expected one of {', '.join(known)}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` with the known name that is nearest to ``name``; empty where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else ""


class ScenarioError(UsageError):
    """A scenario file is wrong. ``line`` is 1-based, or None when no single line is to blame."""

    LONGEST = 1000  # characters

    def __init__(self, path: Path | str, line: int | None, problem: str) -> None:
        self.path, self.line, self.problem = Path(path), line, problem
        where = f"{path}:{line}" if line is not None else str(path)
        # Names in it come from the file: whatever they hold, the message stays one line.
        words = "".join(c if c.isprintable() else " " for c in problem)
        super().__init__(f"{where}: {words if len(words) <= self.LONGEST else words[: self.LONGEST] + '…'}")


class PortTaken(UsageError):
    """An address that a component needs is taken by a process that is not ours."""


class MissingTool(UsageError):
    """A binary or an environment is missing; the message names the command that brings it."""


class UnfitProcessor(UsageError):
    """The machine's processor lacks instructions that the engine's build needs; the message names the ways out."""


class RuntimeUnavailable(UsageError):
    """The chosen runtime cannot be used on this machine."""


class StackError(DrillyardError):
    """The stack did not do what it must: not ready in time, died, refused a command."""

    exit_code = 2


class AdapterError(DrillyardError):
    """A control interface (toxiproxy, a gateway, Docker …) answered wrongly or not in time."""

    exit_code = 2


class FaultError(DrillyardError):
    """A fault could not be injected, proven or healed."""

    exit_code = 2


class OperationAborted(FaultError):
    """An operation cannot go on; the message says at which component, and why."""


class RecordError(DrillyardError):
    """A record cannot be written: without it nothing can be judged."""

    exit_code = 2


class Interrupted(DrillyardError):
    """The run was interrupted; the message says what went wrong after that."""

    exit_code = 130


class Exhausted(DrillyardError):
    """No file descriptor, port or memory is left for a connection.

    ``what``: the subtype (harness/model/exhausted.py).
    """

    exit_code = 2

    def __init__(self, what: str, why: str) -> None:
        self.what = what
        super().__init__(f"the harness itself could not make a connection: {why}")


class RunFolderError(UsageError):
    """A run folder is unreadable, incomplete or of an unknown version."""
