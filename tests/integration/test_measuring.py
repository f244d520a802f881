"""Capacity is measured on a whole stack: real gateways, the load generator of the drills, the simulator behind them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from harness.adapters.gateway import Server
from harness.adapters.gateways.haproxy import Haproxy
from harness.adapters.simulator import Simulator
from harness.evidence.record import RunFolder
from harness.judge.capacity import DISTURBED, Capacity
from harness.model.journal import Journal
from harness.recover.lock import RUN, held
from harness.run import measuring
from harness.run.measuring import Order, Pace
from harness.run.progress import Progress
from stack import state
from stack.runtimes.process import ProcessRuntime

pytestmark = pytest.mark.timeout(240)

#: Enough of each step to see how it is done; what its numbers are worth is tests/unit/test_capacity.py's.
USUAL, BRIEF = Pace(), Pace(requests=12, step_s_min=1.0, step_s_max=6.0, whole_s=10.0, all_s=40.0)


@pytest.fixture(autouse=True)
def _switches_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test has switched on would be repaired as something that an earlier run has left."""
    monkeypatch.setattr(measuring.doctor, "repair_for", lambda folder, note: None)


@contextmanager
def slowed(runtime: ProcessRuntime, **factors: float) -> Iterator[None]:
    """Replicas (``replica_1=4``) that take so many times as long as usual."""
    with ExitStack() as undo:
        for name, factor in factors.items():
            replica = runtime.topology.component(name.replace("_", "-"))
            simulator = Simulator(replica.url())
            simulator.behave({"slow_factor": factor})
            undo.callback(simulator.heal)
        yield


def measured(runtime: ProcessRuntime, tmp_path: Path, pace: Pace = USUAL) -> tuple[Capacity, str]:
    """One measuring, and what it said meanwhile."""
    path = state.instance_folder(runtime.topology) / RUN
    with (tmp_path / "said").open("w") as said, held(path, "a test", print) as lock:
        order = Order(runtime, lock, Progress(Console(file=said, width=200)), marks={"commit": "abc"}, pace=pace)
        found = measuring.measure(order)
    return found, (tmp_path / "said").read_text()


def test_capacity_of_a_healthy_stack(sim_stack: ProcessRuntime, tmp_path: Path) -> None:
    """For all replicas and for one fewer, with what it was measured with; afterwards all is in use as before."""
    with slowed(sim_stack, replica_1=3, replica_2=3):
        found, said = measured(sim_stack, tmp_path, BRIEF)
    assert found.whole is not None, said
    assert found.whole.rate_per_s > 0
    assert found.without is not None, said
    assert found.tps is not None
    assert found.ttft_ms is not None
    assert found.ttft_ms >= 3 * 60
    assert found.marks == {"commit": "abc"}
    assert "one stream: " in said
    assert "all replicas, 4 at a time: " in said
    assert "one replica fewer, " in said
    for gateway in ("gateway-a", "gateway-b"):
        servers = Haproxy(sim_stack, gateway).servers()
        assert servers == {"replica-1": Server("ready", 100), "replica-2": Server("ready", 100)}
    folder = RunFolder(state.instance_folder(sim_stack.topology) / "capacity")
    assert Journal(folder.path / "undo.jsonl").open_entries() == []
    assert (folder.path / "undo.jsonl").stat().st_size > 0
    steps = [event.data["step"] for event in folder.events() if event.kind == "capacity_step"]
    assert all(set(step["by_replica"]) == {"replica-1"} for step in steps if step["replicas"] == 1)
    assert all(0 < step["signals"]["busy"] <= 1 for step in steps), "by the meter of the machine"


@pytest.mark.night
def test_a_sick_replica_gets_no_accepted_capacity(sim_stack: ProcessRuntime, tmp_path: Path) -> None:
    """One that is far slower than the other: whatever the numbers are, they are provisional."""
    with slowed(sim_stack, replica_2=30):
        found, said = measured(sim_stack, tmp_path)
    assert [doubt for doubt in found.provisional if not doubt.startswith(DISTURBED)], said
