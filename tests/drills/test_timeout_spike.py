"""The timeout-spike drill itself, as people run it, on the simulator: green when all is well, red for each defect.

They run one after the other, as a drill beside another one is disturbed by it; the tests look at how they ended.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import closing
from pathlib import Path

import pytest

from harness.model.topology import Topology
from stack import stacks, state
from tests.drills.drill_process import Ended, Running, load_processes, starve, toxics
from tests.drills.lanes import Lane, one_lane
from tests.drills.outcome import CHECKOUT
from tests.integration.simulated_stack import free_topology

pytestmark = pytest.mark.timeout(1800)  # the last drill waits for all the others

ONE = ("warm-up", "baseline", "one-replica", "recovery-one")
ALL = ("warm-up", "baseline", "all-replicas", "recovery-all")
#: Enough of the drill for a defect that shows while one replica is bad.
BRIEF = ("--set", "phases.one-replica.duration=8s", "--set", "phases.recovery-one.duration=2s", "--seed", "1")
#: Enough load for many requests to meet that replica before it is out.
BUSY = ("--set", "load.rate=40/s")


def interrupt_in_baseline(running: Running) -> None:
    """Ctrl-C while nothing is injected."""
    running.wait_for(lambda: "phase baseline" in running.said)
    running.process.send_signal(signal.SIGINT)


def interrupt_in_fault(running: Running) -> None:
    """Ctrl-C, twice as impatient people do, while toxics are on."""
    running.wait_for(lambda: "phase one-replica" in running.said and len(toxics(running.topology)) == 2)
    running.process.send_signal(signal.SIGINT)
    running.wait_for(lambda: "SIGINT: stopping" in running.said)
    running.process.send_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """The lane, all drills queued."""
    with one_lane(tmp_path_factory.mktemp("drills")) as lane:
        lane.then("healthy", "--seed", "1")
        lane.then("starved", phases=("warm-up", "baseline"), during=starve)
        lane.then("interrupted in fault", phases=ONE, during=interrupt_in_fault)
        yield lane


@pytest.fixture(scope="module")
def drills(lane: Lane) -> dict[str, Future[Ended]]:
    """How each drill ends, by name."""
    return lane.ended


@pytest.fixture(scope="module")
def night_drills(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Ended]]]:
    """How the drills end that only the night has time for, by name."""
    with one_lane(tmp_path_factory.mktemp("red")) as lane:
        lane.then("interrupted in baseline", "--defect", "bypass_toxiproxy", phases=ONE, during=interrupt_in_baseline)
        lane.then("bypass_toxiproxy", "--defect", "bypass_toxiproxy", *BRIEF, phases=ONE)
        lane.then("no_gateway_retries", "--defect", "no_gateway_retries", *BRIEF, *BUSY, phases=ONE)
        lane.then("no_readiness_checks", "--defect", "no_readiness_checks", *BRIEF, phases=ONE)
        lane.then("stopped", "--set", "abort_when.0.for=2s", "--seed", "1", phases=ALL)
        yield lane.ended


def test_healthy_stack_passes(drills: dict[str, Future[Ended]]) -> None:
    """Exit 0, every check green and judged, a clear last line, the page and the JUnit file where it says."""
    ended = drills["healthy"].result()
    assert ended.code == 0, ended
    statuses = {r["name"]: r["status"] for part in ("validity", "checks") for r in ended.results(part).values()}
    assert {name: status for name, status in statuses.items() if status != "PASS"} == {}
    assert len(statuses) > 25
    folder = ended.folder.path.relative_to(CHECKOUT)
    assert ended.out.splitlines()[-1] == f"verdict: PASS  report: {folder / 'report.html'}"
    for name in ("report.html", "junit.xml", "requests.parquet", "metrics.parquet", "undo.jsonl"):
        assert (ended.folder.path / name).stat().st_size > 0
    assert "\x1b" not in ended.err, "no terminal, no colours"


def test_healthy_run_left_nothing(drills: dict[str, Future[Ended]]) -> None:
    """Every fault was rolled back, every proof recorded, and no process of the load is left."""
    ended = drills["healthy"].result()
    kinds = [event.kind for event in ended.folder.events()]
    assert kinds.count("fault_injected") == kinds.count("fault_healed") == kinds.count("heal_proven") == 6
    assert kinds.count("fault_proven") == 6
    assert "cleanup_problem" not in kinds
    assert "stop_condition" not in kinds
    plan = ended.folder.plan()
    assert plan["scenario"]["abort_when"]
    identity = state.known_identity(state.instance_folder(stacks.restored(plan["topology"])))
    assert plan["instance_id"] == identity is not None
    assert load_processes(ended.folder.path.name) == []


@pytest.mark.night
@pytest.mark.parametrize(
    ("defect", "check"),
    [
        ("no_gateway_retries", "failures hidden in one-replica"),
        ("no_readiness_checks", "gateways eject replica-2"),
    ],
)
def test_defect_fails_the_drill(night_drills: dict[str, Future[Ended]], defect: str, check: str) -> None:
    """Each defect of the gateways ends FAIL, exit 1, with the check that exists for it named first."""
    ended = night_drills[defect].result()
    assert ended.code == 1, ended
    assert ended.verdict["status"] == "FAIL"
    assert ended.results()[check]["status"] == "FAIL", ended.verdict["reason"]
    reason = ended.verdict["reason"]
    assert reason.startswith(f"{check}: ")
    assert ended.out.splitlines()[0] == reason


@pytest.mark.night
def test_fault_without_effect_is_inconclusive(night_drills: dict[str, Future[Ended]]) -> None:
    """Toxiproxy takes every toxic, but the gateways go past it: exit 2, «the fault had no effect», and no check passes
    that rests on the fault.
    """
    ended = night_drills["bypass_toxiproxy"].result()
    assert ended.code == 2, ended
    assert "the fault had no effect" in ended.verdict["reason"]
    assert ended.results("validity")["fault in one-replica"]["status"] == "INCONCLUSIVE"
    assert ended.results()["failures hidden in one-replica"]["status"] == "INCONCLUSIVE"
    assert "NOT PROVEN" in (ended.folder.path / "report.html").read_text()


def test_starved_generator_is_inconclusive(drills: dict[str, Future[Ended]]) -> None:
    """A load generator that cannot keep its schedule proves nothing about the service: exit 2, and it is named."""
    ended = drills["starved"].result()
    assert ended.code == 2, ended
    assert "the load generator was the bottleneck" in ended.verdict["reason"]
    assert ended.results("validity")["load generator on schedule"]["status"] == "INCONCLUSIVE"
    assert ended.results()["TTFT before"]["status"] == "INCONCLUSIVE"


@pytest.mark.night
def test_stop_condition_ends_the_run_early_and_healed(night_drills: dict[str, Future[Ended]]) -> None:
    """Most requests fail for longer than the scenario allows: exit 2 before the fault's time is over, all is healed,
    and the first line names the condition.
    """
    ended = night_drills["stopped"].result()
    assert ended.code == 2, ended
    assert ended.out.splitlines()[0].startswith("the run ended early: a stop condition was met")
    assert "error_ratio > 50 % for 2 s" in ended.verdict["reason"]
    kinds = [event.kind for event in ended.folder.events()]
    assert kinds.count("stop_condition") == 1
    assert kinds.count("fault_healed") == kinds.count("fault_injected") == 4
    assert "cleanup_problem" not in kinds
    assert not any(event.data.get("phase") == "recovery-all" for event in ended.folder.events())


def test_interrupted_fault_is_healed(drills: dict[str, Future[Ended]]) -> None:
    """Ctrl-C while toxics are on: they are rolled back, and all that was said says so."""
    ended = drills["interrupted in fault"].result()
    assert_cleaned_up(ended, faults=2)
    assert "healed: all that was injected (2) was rolled back in " in ended.err, ended
    assert "2 faults were rolled back by the harness within" in ended.verdict["reason"]


@pytest.mark.night
def test_interrupted_baseline_has_nothing_to_heal(night_drills: dict[str, Future[Ended]]) -> None:
    """Ctrl-C before the first fault: nobody claims to have rolled back anything."""
    ended = night_drills["interrupted in baseline"].result()
    assert_cleaned_up(ended, faults=0)
    assert "healed: all that was injected" not in ended.err, ended
    assert "no fault was in place" in ended.verdict["reason"]


def assert_cleaned_up(ended: Ended, faults: int) -> None:
    """After Ctrl-C: exit 130, everything rolled back, no process left, and the folder is judged as interrupted."""
    assert ended.code == 130, ended
    assert ended.verdict["status"] == "INCONCLUSIVE"
    assert "the run was interrupted (SIGINT)" in ended.verdict["reason"]
    kinds = [event.kind for event in ended.folder.events()]
    assert kinds.count("fault_healed") == kinds.count("fault_injecting") == faults
    assert "cleanup_problem" not in kinds
    assert load_processes(ended.folder.path.name) == []
    assert (ended.folder.path / "requests.parquet").exists()
    assert "interrupted" in (ended.folder.path / "report.html").read_text()
    assert "Traceback" not in ended.err


def test_no_toxic_is_left(lane: Lane) -> None:
    """When all drills have ended, however they did, toxiproxy itself lists no toxic on any link."""
    wait(lane.ended.values())
    assert toxics(lane.topology) == {}


@pytest.fixture
def spare() -> Iterator[Topology]:
    """An instance on which nothing runs."""
    with free_topology() as topology:
        yield topology


def refusal(ended: Ended) -> str:
    """The one line of a run that was refused before anything was started."""
    assert ended.code == 64, ended
    assert ended.out == ""
    assert ended.err.startswith("drillyard: ")
    assert ended.err.count("\n") == 1, ended
    return ended.err


def test_taken_port_is_refused(spare: Topology, tmp_path: Path) -> None:
    """Somebody else on a gateway's address: exit 64, one line with the address and the process that has it."""
    gateway = spare.component("gateway-a")
    with closing(socket.create_server((gateway.address, gateway.ports["http"]))):
        line = refusal(Running(spare, tmp_path).end())
    assert f"{gateway.address}:{gateway.ports['http']}" in line
    assert f"process {os.getpid()}" in line


def test_dead_docker_is_refused(spare: Topology, tmp_path: Path) -> None:
    """RUNTIME=docker without a daemon: exit 64 and one line that says so."""
    silent = {"DOCKER_HOST": f"unix://{tmp_path}/no-such.sock"}
    line = refusal(Running(spare, tmp_path, "--runtime", "docker", environment=silent).end())
    assert "Docker" in line
