"""The checkout is renamed while something is injected: all of it is healed, and the stack lives on."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.model.topology import Topology
from stack.runtimes import family
from stack.runtimes.process import ProcessRuntime
from tests.drills.drill_process import Running
from tests.drills.outcome import CHECKOUT
from tests.integration.simulated_stack import free_topology
from tests.trust import aftermath
from tests.trust.crash import ENDED_WITHIN_S, HEALED_WITHIN_S
from tests.trust.lanes import silent
from tests.waiting import until

pytestmark = [pytest.mark.trust, pytest.mark.timeout(240)]
SCENARIO = Path(__file__).with_name("moved.yaml")
#: What a run needs of a checkout; the environment and the tools are shared with this one.
PARTS, SHARED = ("drills", "harness", "reports", "scenarios", "stack"), (".venv", ".tools")


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    """Another checkout, and nothing that it started is left afterwards."""
    made = tmp_path / "checkout"
    for part in PARTS:
        shutil.copytree(CHECKOUT / part, made / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in SHARED:
        (made / part).symlink_to((CHECKOUT / part).resolve())
    yield made
    family.signal_all(aftermath.processes(tmp_path.name), signal.SIGKILL)
    for identity in tmp_path.glob("*/.state/*/instance_id"):
        family.end(family.of_instance(identity.read_text()), 1.0)


@pytest.fixture
def topology() -> Iterator[Topology]:
    """An instance that nobody uses."""
    with free_topology() as found:
        yield found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_renamed_checkout_is_healed_and_lives_on(
    number: signal.Signals, copy: Path, topology: Topology, tmp_path: Path
) -> None:
    """Links, paused replicas and weights are rolled back, by the watchdog or by the harness, and no process of the
    stack is ended or started again.
    """
    mark = tmp_path.name
    running = Running(
        topology, tmp_path, "--scenario", str(SCENARIO), checkout=copy, environment={aftermath.MARK: mark}
    )
    running.wait_for(lambda: running.said.lower().count("proven: ") == 3)
    before = {one.name: one.pid for one in ProcessRuntime(topology, copy / ".state").states()}
    moved = copy.rename(tmp_path / "moved")
    running.process.send_signal(number)
    runtime = ProcessRuntime(topology, moved / ".state")
    until(lambda: not aftermath.faults(runtime), HEALED_WITHIN_S, f"healed: {aftermath.faults(runtime)}")
    running.end()
    until(lambda: not aftermath.processes(mark), ENDED_WITHIN_S, "end of harness, load and watchdog")
    assert {one.name: one.pid for one in runtime.states()} == before
    assert {one.state for one in runtime.states()} == {"running"}
    assert not aftermath.faults(runtime)
    assert running.process.returncode == (-signal.SIGKILL if number is signal.SIGKILL else 130)
    runtime.down(silent)
