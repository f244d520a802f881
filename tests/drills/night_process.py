"""A night as people run it: ``python -m harness nightly`` as a process, on the simulator, and what it leaves."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness.model import night as nights
from harness.model.topology import Topology
from harness.run.suite import RUNS
from tests.drills.outcome import CHECKOUT

BEGINS_WITHIN_S, ENDS_WITHIN_S = 300.0, 900.0


@dataclass
class Nights:
    """Nights of the suite in ``suite.yaml`` on one instance, and their folders."""

    folder: Path
    topology: Topology
    before: frozenset[Path]

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The program, with all that it says in a file."""
        where = ("--suite", str(self.folder / "suite.yaml"), "--instance", str(self.topology.instance), "--seed", "1")
        with (self.folder / "said").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "harness", "nightly", *where, *arguments],
                cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        """All of it so far."""
        return (self.folder / "said").read_text(errors="replace")

    def new(self) -> list[Path]:
        """Folders of nights that were not there before."""
        return [folder for folder in nights.folders(RUNS) if folder not in self.before]

    def until(self, process: subprocess.Popen[bytes], words: str) -> None:
        """Wait until it has said those words."""
        deadline = time.monotonic() + BEGINS_WITHIN_S
        while words not in self.said:
            assert process.poll() is None, self.said
            assert time.monotonic() < deadline, f"never said {words!r}:\n{self.said}"
            time.sleep(0.2)

    def forget(self) -> None:
        """Remove what they have written: a test leaves nothing that looks like a user's own night."""
        for folder in self.new():
            shutil.rmtree(folder)
        for name in re.findall(r"run (\d{8}-\S+)  runtime ", self.said):  # that of the night that was killed, too
            shutil.rmtree(RUNS / name, ignore_errors=True)
        if (latest := RUNS / "latest").is_symlink() and not latest.exists():
            latest.unlink()
