"""How a run ends that people end: interrupted where nothing can be written, or with its stack taken down under it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stack.runtimes.process import ProcessRuntime
from tests.drills.drill_process import Running, load_processes
from tests.drills.lanes import Lane, one_lane
from tests.drills.outcome import CHECKOUT
from tests.trust.crash import SCENARIO

#: The run says within this that its stack is gone, and has ended: a fault phase and its deadlines last longer.
SECONDS = 30.0
LONG = ("--scenario", str(SCENARIO), "--set", "phases.broken.duration=120s")


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """One stack for all of them."""
    with one_lane(tmp_path_factory.mktemp("ends")) as lane:
        yield lane


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.night), signal.SIGTERM])
def test_an_interrupt_is_130_where_nothing_can_be_written(lane: Lane, number: signal.Signals, tmp_path: Path) -> None:
    """Not even the exit code's reason: the terminal is a file on the same full disk."""
    running = Running(lane.topology, tmp_path, *LONG)
    running.wait_for(lambda: "phase broken" in running.said)
    psutil.Process(running.process.pid).rlimit(psutil.RLIMIT_FSIZE, (1, 1))
    running.process.send_signal(number)
    ended = running.end()
    assert ended.code == 130, ended
    assert load_processes(ended.folder.path.name) == []
    shutil.rmtree(ended.folder.path)


def test_a_run_ends_with_its_stack(lane: Lane, tmp_path: Path) -> None:
    """`down --force` under a run: the run says within seconds who took its stack, blames no component, and ends."""
    running = Running(lane.topology, tmp_path, *LONG)
    running.wait_for(lambda: running.said.count("proven: ") >= 2)
    place = ("--runtime", "process", "--engine", "sim", "--instance", str(lane.topology.instance))
    subprocess.run([sys.executable, "-m", "harness", "down", "--force", *place], cwd=CHECKOUT, check=True)
    try:
        running.process.wait(SECONDS)
    finally:
        ended = running.end()
        ProcessRuntime(lane.topology).up(print)  # for the others
    assert ended.code == 2, ended
    assert ended.verdict["reason"].startswith("the run ended early: the stack of this run was taken down"), ended
    assert "FAIL" not in {result["status"] for result in ended.results().values()}
    shutil.rmtree(ended.folder.path)
