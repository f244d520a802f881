"""Python environments and wheels through uv, which the harness' own environment contains.

uv makes environments without ``ensurepip``, so a Debian without python3-venv is no obstacle here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from stack.tools.execution import execute
from stack.tools.progress import Step

PROGRAM = Path(sys.executable).with_name("uv")


class Packages:
    """Says what `uv pip install` is waiting for, out of its output: it names the large packages, begun and done."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._done = 0

    def __call__(self, line: str) -> str | None:
        """The note after one more line; None for a line that tells no news."""
        word, _, rest = line.partition(" ")
        match word:
            case "Resolved":
                return "downloading Python packages"
            case "Downloading":
                self._open.append(rest)
            case "Downloaded":
                self._open = [one for one in self._open if one.partition(" ")[0] != rest]
                self._done += 1
            case "Prepared":
                return "unpacking Python packages"
            case _:
                return None
        total = self._done + len(self._open)
        waiting = f", waiting for {', '.join(self._open)}" if self._open else ""
        return f"downloading Python packages, {self._done} of the {total} large ones are there{waiting}"


def make_environment(folder: Path, step: Step, log: str, remedy: str) -> None:
    """A fresh virtual environment in ``folder`` with the same interpreter as ours."""
    interpreter = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    options = ["--no-project", "--no-python-downloads", "--clear", "--force"]
    argv: list[str | Path] = [PROGRAM, "venv", *options, "--python", interpreter, folder]
    execute(argv, step, log, remedy, limit_s=120)


def install(where: Sequence[str | Path], lock: Path, step: Step, log: str, remedy: str) -> None:
    """Install what ``lock`` pins, each file by its hash, and nothing else. ``where``: ``--target`` or ``--python``."""
    argv: list[str | Path] = [PROGRAM, "pip", "install", "--require-hashes", "--no-deps", *where, "-r", lock]
    execute(argv, step, log, remedy, told=Packages())


def install_as_told(as_told: Sequence[str | Path], step: Step, log: str, remedy: str) -> None:
    """Install what the user named (a wheel, an index): nothing here could know its hash."""
    argv: list[str | Path] = [PROGRAM, "pip", "install", "--no-deps", *as_told]
    execute(argv, step, log, remedy, told=Packages())
