"""A run without load has nothing to measure."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from harness.run.outcome import run_name
from stack.runtimes import family
from stack.runtimes.process import ProcessRuntime
from tests.drills.drill_process import Running, load_processes
from tests.trust import aftermath
from tests.trust.crash import SCENARIO
from tests.trust.lanes import latest_kept, warm_stack

pytestmark = [pytest.mark.trust, pytest.mark.timeout(180)]


def test_a_dead_load_generator_ends_the_run(tmp_path: Path) -> None:
    """Without load nothing can be said: the run ends early, healed, INCONCLUSIVE, in one sentence and no traceback."""
    with latest_kept(), warm_stack() as topology:
        running = Running(topology, tmp_path, "--scenario", str(SCENARIO))
        running.wait_for(lambda: "phase broken" in running.said)
        family.signal_all(load_processes(str(run_name(running.said))), signal.SIGKILL)
        ended = running.end()
        assert ended.code == 2, str(ended)
        assert "the load generator died" in ended.verdict["reason"]
        assert "Traceback" not in ended.err
        assert not aftermath.faults(ProcessRuntime(topology))
        shutil.rmtree(ended.folder.path)
