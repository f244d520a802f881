"""A drill whose records cannot be written any more: it ends, heals, and says so first."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.run.outcome import run_name
from tests.drills.drill_process import Running, load_processes, scenario, toxics
from tests.drills.lanes import Lane, one_lane
from tests.waiting import until

pytestmark = pytest.mark.timeout(900)

PHASES = ("warm-up", "baseline", "one-replica", "recovery-one")
#: Less than the generator has written of a phase, and than the harness has of its events.
ROOM = 4096
JUDGED_S_MAX = 60.0


def broken(running: Running) -> bool:
    """The fault is on."""
    return "phase one-replica" in running.said and len(toxics(running.topology)) == 2


def no_room_for_requests(running: Running) -> None:
    """From the fault on no file of the load generator may grow."""
    running.wait_for(lambda: broken(running))
    for process in load_processes(str(run_name(running.said))):
        process.rlimit(psutil.RLIMIT_FSIZE, (ROOM, ROOM))


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """A stack of its own."""
    with one_lane(tmp_path_factory.mktemp("writes")) as lane:
        yield lane


@pytest.mark.night
def test_a_generator_that_cannot_write_ends_the_drill_healed(lane: Lane) -> None:
    """Exit 2 before the phase is over; the first line is the write, on the terminal and in the verdict."""
    lane.then("requests", "--seed", "1", phases=PHASES, during=no_room_for_requests)
    ended = lane.ended["requests"].result()
    assert ended.code == 2, ended
    assert "cannot be written: File too large" in ended.err, "said while it happened"
    assert "could not be written: File too large" in ended.out.splitlines()[0]
    assert ended.results("validity")["load generator's end"]["status"] == "INCONCLUSIVE"
    kinds = [event.kind for event in ended.folder.events()]
    assert kinds.count("fault_healed") >= kinds.count("fault_injecting") == 2
    assert not any(event.data.get("phase") == "recovery-one" for event in ended.folder.events())
    assert "FAIL" not in {result["status"] for result in ended.results().values()}, ended
    assert "Traceback" not in ended.err
    assert load_processes(ended.folder.path.name) == []
    assert toxics(lane.topology) == {}


def test_a_harness_that_cannot_write_heals_and_says_so(lane: Lane, tmp_path: Path) -> None:
    """Its events, its samples and its verdict find no room: the fault is rolled back, the reason is told, exit 2.

    Its watchdog has room, and judges the run once more.
    """
    running = Running(lane.topology, tmp_path, "--seed", "1", "--scenario", str(scenario(tmp_path, *PHASES)))
    running.wait_for(lambda: broken(running))
    psutil.Process(running.process.pid).rlimit(psutil.RLIMIT_FSIZE, (ROOM, ROOM))
    ended = running.end()
    try:
        assert ended.code == 2, ended
        assert "events.jsonl cannot be written: File too large" in ended.err
        assert ended.out.splitlines()[0].startswith("records written: "), ended
        assert ended.out.splitlines()[1].startswith("verdict: INCONCLUSIVE")
        assert "Traceback" not in ended.err
        assert load_processes(ended.folder.path.name) == []
        assert toxics(lane.topology) == {}
        until((ended.folder.path / "report.html").exists, JUDGED_S_MAX, "no report")
        assert ended.verdict["status"] == "INCONCLUSIVE"
        assert ended.verdict["reason"].startswith("records written: ")
    finally:
        shutil.rmtree(ended.folder.path)
