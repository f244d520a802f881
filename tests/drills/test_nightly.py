"""A night as people run it, on the simulator: killed in the middle of a drill, and gone on with."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.model import night as nights
from harness.model.night import Night
from harness.run.suite import RUNS
from tests.drills.outcome import CHECKOUT
from tests.integration.simulated_stack import free_topology

pytestmark = [pytest.mark.night, pytest.mark.timeout(1800)]

SUITE = """
name: two-drills
budget: 60m
runtimes: [process]
engines: [sim]
entries:
  - drill: timeout-spike
  - drill: gateway-failover
"""
BEGINS_WITHIN_S = 900.0


class Nights:
    """Nights of the suite above on one instance, and their folders."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.topology = folder, free_topology()
        self.suite = folder / "suite.yaml"
        self.suite.write_text(SUITE)
        self.before = set(nights.folders(RUNS))

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The program, with all that it says in a file."""
        where = ("--suite", str(self.suite), "--instance", str(self.topology.instance), "--seed", "1")
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

    def until(self, process: subprocess.Popen[bytes], words: str, after: str = "") -> None:
        """Wait until it has said those words, ``after`` others."""
        deadline = time.monotonic() + BEGINS_WITHIN_S
        while words not in self.said.partition(after)[2 if after else 0]:
            assert process.poll() is None, self.said
            assert time.monotonic() < deadline, f"never said {words!r}:\n{self.said}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    """One night, killed while its second drill has load on the stack, refused a twin, and gone on with to its end."""
    found = Nights(tmp_path_factory.mktemp("night"))
    first = found.begin()
    try:
        found.until(first, "phase warm-up", after="2 of 2: ")
        twin = found.begin()
        assert twin.wait(60) == 64
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert found.begin("--resume").wait() in (0, 1, 2, 3), found.said
        yield found
    finally:
        first.kill()
        down = [sys.executable, "-m", "harness", "down", "--force", "--instance", str(found.topology.instance)]
        subprocess.run(down, cwd=CHECKOUT, check=True, timeout=120)


def test_it_ends_with_every_entry(of_two: Nights) -> None:
    """One folder, ended, in which each drill stands once with a verdict."""
    (folder,) = of_two.new()
    night: Night = nights.read(folder)
    assert night.ended is not None
    assert [bool(entry.status) for entry in night.entries] == [True, True], of_two.said
    assert all((RUNS / attempt.run_id / "verdict.json").exists() for e in night.entries for attempt in e.attempts)
    assert {"suite.json", "summary.md", "junit.xml", "ctrf.json"} <= {path.name for path in folder.iterdir()}


def test_a_second_night_is_told_who_holds_the_lock(of_two: Nights) -> None:
    """By name and process."""
    assert "in use by a night (pid" in of_two.said


def test_the_drill_that_outlived_it_was_waited_for(of_two: Nights) -> None:
    """It heals and judges on its own; nobody else touches its stack meanwhile."""
    assert "waiting for a run of" in of_two.said or "which uses the stack" in of_two.said
