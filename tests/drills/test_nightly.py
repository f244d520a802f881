"""A night as people run it, on the simulator: killed in the middle of a drill, and gone on with."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from harness.model import night as nights
from harness.model.night import Night
from harness.run.suite import RUNS
from tests.drills.drill_process import SHORT, scenario
from tests.drills.night_process import ENDS_WITHIN_S, Nights
from tests.drills.outcome import CHECKOUT
from tests.integration.simulated_stack import free_topology

pytestmark = [pytest.mark.night, pytest.mark.timeout(1200)]

#: The second is no whole drill, so it cannot be judged: it is run twice.
SUITE = """
name: two-drills
budget: 60m
runtimes: [process]
engines: [sim]
entries:
  - {{drill: timeout-spike, scenario: {whole}}}
  - {{drill: timeout-spike, scenario: {part}}}
"""
WHOLE, PART = "short/process/sim", "some-phases/process/sim"


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    """One night, killed while load is on the stack, that has refused a twin, and gone on with to its end."""
    folder = tmp_path_factory.mktemp("night")
    part = scenario(folder, "warm-up", "baseline")
    (folder / "suite.yaml").write_text(SUITE.format(whole=SHORT, part=part))
    with free_topology() as topology:
        found = Nights(folder, topology, frozenset(nights.folders(RUNS)))
        first = found.begin()
        try:
            found.until(first, "phase warm-up")
            assert found.begin().wait(60) == 64
            first.send_signal(signal.SIGKILL)
            first.wait()
            assert found.begin("--resume").wait(ENDS_WITHIN_S) in (1, 2), found.said
            yield found
        finally:
            first.kill()
            down = [sys.executable, "-m", "harness", "down", "--force", "--instance", str(topology.instance)]
            subprocess.run(down, cwd=CHECKOUT, check=True, timeout=120)
            found.forget()


def test_it_ends_with_every_entry(of_two: Nights) -> None:
    """One folder, ended, in which each drill ended as it would have without the kill; attempts have verdicts."""
    (folder,) = of_two.new()
    night: Night = nights.read(folder)
    assert night.ended is not None
    attempts = {entry.id: [attempt.status.value for attempt in entry.attempts] for entry in night.entries}
    assert attempts[PART] == ["INCONCLUSIVE", "INCONCLUSIVE"], of_two.said
    assert attempts[WHOLE][-1] in ("PASS", "INCONCLUSIVE"), of_two.said
    assert all((RUNS / attempt.run_id / "verdict.json").exists() for e in night.entries for attempt in e.attempts)
    assert {"suite.json", "summary.md", "junit.xml", "ctrf.json"} <= {path.name for path in folder.iterdir()}


def test_a_second_night_is_told_who_holds_the_lock(of_two: Nights) -> None:
    """By name and process."""
    assert "in use by a night (pid" in of_two.said


def test_the_drill_that_outlived_it_was_waited_for(of_two: Nights) -> None:
    """It heals and judges on its own; nobody else touches its stack meanwhile."""
    assert "which uses the stack" in of_two.said
