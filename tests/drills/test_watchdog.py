"""A fault never outlives its run: the harness is killed with SIGKILL, and the stack is healed within seconds."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness.record import RunFolder
from stack.runtimes.process import ProcessRuntime
from stack.topology import Topology
from tests.drills.drill_process import CHECKOUT, Running, load_processes, run_name, toxics
from tests.integration.simulated_stack import free_topology

pytestmark = [pytest.mark.trust, pytest.mark.timeout(180)]

HEALED_WITHIN_S = 5.0
SCENARIO = """
name: crash
description: One fault, as early as the steady state allows.
load:
  rate: 20/s
  cohorts: [{name: chat, users: 40}]
phases:
  - {name: warm-up, kind: warmup, duration: 1s}
  - {name: baseline, kind: baseline, duration: 2s}
  - name: broken
    kind: fault
    duration: 20s
    faults:
      - {type: timeout, on: gateway-*-to-replica-1}
      - {type: latency, on: gateway-*-to-replica-2, options: {latency: 20s}}
  - {name: recovery, kind: recovery, duration: 2s}
"""


@pytest.fixture(scope="module")
def topology() -> Iterator[Topology]:
    """A simulated stack of our own; the first run starts it."""
    with free_topology() as found:
        yield found
        ProcessRuntime(found).down(lambda text: None)


def crashed(topology: Topology, folder: Path, moment: Callable[[Running], bool], later_s: float = 0.0) -> RunFolder:
    """Run the drill, kill the harness ``later_s`` after ``moment``; its folder."""
    path = folder / "crash.yaml"
    path.write_text(SCENARIO)
    running = Running(topology, folder, "--scenario", str(path))
    running.wait_for(lambda: moment(running))
    crash_at = time.monotonic() + later_s
    running.wait_for(lambda: time.monotonic() >= crash_at)
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    name = run_name(running.said)
    assert name is not None
    return RunFolder(CHECKOUT / "runs" / name)


def eventually(what: Callable[[], bool], limit_s: float) -> bool:
    """Poll until ``what`` or until the time is over."""
    deadline = time.monotonic() + limit_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def watchdogs(run: RunFolder) -> list[psutil.Process]:
    """Watchdog processes of that run."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "harness.watchdog" in line and any(run.path.name in part for part in line):
            found.append(process)
    return found


def kinds(run: RunFolder) -> list[str]:
    """The kinds of the run's events, in order."""
    return [event.kind for event in run.events()]


@pytest.mark.parametrize("later_s", [0.0, random.Random(4).uniform(0.0, 0.3), 4.0], ids=["first", "among", "held"])
def test_a_killed_harness_leaves_no_fault(topology: Topology, tmp_path: Path, later_s: float) -> None:
    """Killed at the first injection, among the injections, and while they hold: healed, judged, nobody left behind."""
    journal = tmp_path / "nothing"

    def injecting(running: Running) -> bool:
        nonlocal journal
        name = run_name(running.said)
        journal = CHECKOUT / "runs" / str(name) / "undo.jsonl"
        return name is not None and journal.exists()

    run = crashed(topology, tmp_path, injecting, later_s)
    assert eventually(lambda: not toxics(topology), HEALED_WITHIN_S), toxics(topology)
    assert eventually(lambda: not watchdogs(run) and not load_processes(run.path.name), 45)
    assert not toxics(topology)
    assert '"done"' in journal.read_text()
    assert "interrupted" in kinds(run)
    assert run.read_json("verdict.json")["status"] != "PASS"
    assert "the harness died" in run.read_json("verdict.json")["reason"]
    assert (run.path / "report.html").exists()


def test_a_killed_harness_without_a_fault_is_said_to_be_interrupted(topology: Topology, tmp_path: Path) -> None:
    """Nothing to heal is no reason to keep silent about the end."""
    run = crashed(topology, tmp_path, lambda running: "phase baseline" in running.said)
    assert eventually(lambda: (run.path / "report.html").exists() and not watchdogs(run), 45)
    assert run.read_json("verdict.json")["status"] == "INCONCLUSIVE"
    assert eventually(lambda: not load_processes(run.path.name), 10)


def test_a_run_that_ends_takes_its_watchdog_along(topology: Topology, tmp_path: Path) -> None:
    """After an ordinary end, here Ctrl-C, no watchdog is left and the verdict is the harness' own."""
    path = tmp_path / "crash.yaml"
    path.write_text(SCENARIO)
    running = Running(topology, tmp_path, "--scenario", str(path))
    running.wait_for(lambda: "phase broken" in running.said)
    running.process.send_signal(signal.SIGINT)
    ended = running.end()
    assert ended.code == 130, str(ended)
    assert not watchdogs(ended.folder)
    assert not toxics(topology)


def test_a_dead_load_generator_ends_the_run(topology: Topology, tmp_path: Path) -> None:
    """Without load nothing can be said: the run ends early, healed, INCONCLUSIVE, in one sentence and no traceback."""
    path = tmp_path / "crash.yaml"
    path.write_text(SCENARIO)
    running = Running(topology, tmp_path, "--scenario", str(path))
    running.wait_for(lambda: "phase broken" in running.said)
    for process in load_processes(str(run_name(running.said))):
        process.kill()
    ended = running.end()
    assert ended.code == 2, str(ended)
    assert "the load generator died" in ended.verdict["reason"]
    assert "Traceback" not in ended.err
    assert not toxics(topology)
