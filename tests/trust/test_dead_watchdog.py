"""A run is never without a watchdog."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from harness.evidence.record import RunFolder
from harness.recover.leftovers.base import Processes
from harness.run.outcome import run_name
from stack.runtimes import family
from stack.runtimes.process import ProcessRuntime
from tests.drills.drill_process import Running, load_processes
from tests.drills.outcome import CHECKOUT
from tests.trust import aftermath
from tests.trust.crash import SCENARIO
from tests.trust.lanes import latest_kept, warm_stack
from tests.waiting import eventually

pytestmark = [pytest.mark.trust, pytest.mark.timeout(180)]


def test_a_dead_watchdog_is_replaced(tmp_path: Path) -> None:
    """The watchdog is killed first, then the harness: the next watchdog heals, judges and renders."""
    with latest_kept(), warm_stack() as topology:
        running = Running(topology, tmp_path, "--scenario", str(SCENARIO))
        running.wait_for(lambda: "phase broken" in running.said)
        run = RunFolder(CHECKOUT / "runs" / str(run_name(running.said)))
        family.signal_all(Processes.now().of_run("harness.recover.watchdog", run), signal.SIGKILL)
        running.wait_for(lambda: "the watchdog died or does not answer: another one is started" in running.said)
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        assert eventually(lambda: not Processes.now().of_run("harness.recover.watchdog", run), 60)
        assert not aftermath.faults(ProcessRuntime(topology))
        assert not load_processes(run.path.name)
        assert "interrupted" in [event.kind for event in run.events()]
        assert (run.path / "report.html").exists()
        shutil.rmtree(run.path)
