"""The process runtime with real programs around the simulator."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import httpx
import psutil
import pytest
from rich.console import Console

from harness.cli import logs, status
from harness.model.errors import PortTaken, StackError, UsageError
from harness.model.topology import Topology
from harness.plan.options import StackOptions
from stack import state
from stack.runtimes import family, priority, process
from stack.runtimes.base import ComponentState
from stack.runtimes.process import ProcessRuntime
from tests.integration.simulated_stack import free_topology
from tests.waiting import until


def _state(runtime: ProcessRuntime, name: str) -> ComponentState:
    return {component.name: component for component in runtime.states()}[name]


def _answers(runtime: ProcessRuntime, name: str) -> bool:
    component = runtime.topology.component(name)
    try:
        path = component.readiness_path or component.liveness_path or "/"
        return httpx.get(component.url(component.probe_port, path), timeout=0.5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _ready(runtime: ProcessRuntime, name: str) -> bool:
    return _state(runtime, name).state == "running" and _answers(runtime, name)


@pytest.fixture
def topology() -> Iterator[Topology]:
    """A free instance for tests that start a stack of their own."""
    with free_topology() as found:
        yield found


def test_all_components_run_and_a_second_up_is_warm(sim_stack: ProcessRuntime) -> None:
    """Up is idempotent, and starts nothing that runs."""
    pids = [component.pid for component in sim_stack.states()]
    assert sim_stack.up(print) is True
    assert [component.pid for component in sim_stack.states()] == pids
    assert {component.state for component in sim_stack.states()} == {"running"}


def test_preflight_of_a_running_stack_finds_its_own_ports_in_order(sim_stack: ProcessRuntime) -> None:
    """Ports that our own stack holds are no obstacle."""
    sim_stack.preflight()


def test_a_killed_component_comes_back(sim_stack: ProcessRuntime) -> None:
    """SIGKILL from outside is answered by a restart, which is counted."""
    before = _state(sim_stack, "replica-1")
    sim_stack.kill("replica-1")
    until(lambda: _ready(sim_stack, "replica-1"))
    after = _state(sim_stack, "replica-1")
    assert after.pid != before.pid
    assert after.restarts == before.restarts + 1


def test_a_paused_component_is_silent_until_unpaused(sim_stack: ProcessRuntime) -> None:
    """The whole process tree stands still; unpausing twice is harmless."""
    sim_stack.pause("replica-2")
    try:
        assert _state(sim_stack, "replica-2").state == "paused"
        assert not _answers(sim_stack, "replica-2")
    finally:
        sim_stack.unpause("replica-2")
        sim_stack.unpause("replica-2")
    until(lambda: _ready(sim_stack, "replica-2"))


def test_a_stopped_component_stays_down_until_it_is_started(sim_stack: ProcessRuntime) -> None:
    """The restart policy must not bring back what was stopped on purpose; up does, and it was not warm."""
    restarts = _state(sim_stack, "exporter").restarts
    sim_stack.stop("exporter", grace_s=5)
    time_up_s = time.monotonic() + 1.5
    until(lambda: time.monotonic() > time_up_s)
    assert _state(sim_stack, "exporter").state == "stopped"
    sim_stack.stop("exporter", grace_s=5)  # stopping twice is harmless
    sim_stack.start("exporter")
    until(lambda: _ready(sim_stack, "exporter"))
    assert _state(sim_stack, "exporter").restarts == restarts


def test_a_paused_component_can_be_stopped(sim_stack: ProcessRuntime) -> None:
    """A frozen process could not obey SIGTERM: it is thawed first."""
    sim_stack.pause("alertmanager")
    sim_stack.stop("alertmanager", grace_s=5)
    assert _state(sim_stack, "alertmanager").state == "stopped"
    sim_stack.start("alertmanager")
    until(lambda: _ready(sim_stack, "alertmanager"))


def test_stats_are_measured_or_none(sim_stack: ProcessRuntime) -> None:
    """A running replica has memory and CPU; what is not known is None, not 0."""
    stats = sim_stack.stats("replica-1")
    assert stats.rss_bytes is not None
    assert stats.rss_bytes > 1_000_000
    assert stats.cpu_s is not None
    assert stats.oom_kills is None


def test_engines_yield_and_secrets_of_the_caller_stay_outside(sim_stack: ProcessRuntime) -> None:
    """A component's environment holds the instance id and nothing of the caller's."""
    found = state.load(sim_stack.folder)
    assert found is not None
    main = psutil.Process(_state(sim_stack, "replica-1").pid)
    assert main.nice() == 10
    assert main.environ()[state.INSTANCE_VARIABLE] == found.instance_id
    assert "PYTEST_CURRENT_TEST" not in main.environ()


def test_everything_listens_on_loopback_only(sim_stack: ProcessRuntime) -> None:
    """No component of the stack binds an address that others can reach."""
    found = state.load(sim_stack.folder)
    assert found is not None
    for one in family.of_instance(found.instance_id):
        for connection in one.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip.startswith("127."), f"{one.cmdline()} listens on {connection.laddr}"


def test_the_admin_socket_answers(sim_stack: ProcessRuntime) -> None:
    """A gateway can be asked at run time."""
    assert sim_stack.gateway_command("gateway-a", "show info").startswith("Name: HAProxy")


def test_status_and_logs_find_the_stack_by_its_instance(sim_stack: ProcessRuntime) -> None:
    """The commands need only the instance's number: the rest stands in its state."""
    options = StackOptions(instance=sim_stack.topology.instance)
    out = StringIO()
    assert status.status(options, as_json=False, console=Console(file=out, width=120)) == 0
    assert "gateway-b" in out.getvalue()
    used = [line for line in out.getvalue().splitlines() if line.count("ready, healthy") == 2]
    assert [line.split()[1] for line in used] == ["replica-1", "replica-2"]
    text = StringIO()
    assert logs.logs(options, "gateway-a", out=text) == 0
    assert "replica-1" in text.getvalue()
    with pytest.raises(UsageError, match="gateway-a"):
        logs.logs(options, "gatway-a", text)


def test_a_taken_port_stops_everything_before_it_starts(topology: Topology) -> None:
    """Whose port it is stands in the message; no state is left."""
    runtime = ProcessRuntime(topology)
    with socket.socket() as listener:
        listener.bind((topology.component("prometheus").address, 9090))
        listener.listen()
        with pytest.raises(PortTaken, match=f"process {os.getpid()}"):
            runtime.up(print)
    assert state.load(runtime.folder) is None


def test_a_component_that_dies_ends_the_wait_with_its_last_words(
    topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up fails at once, shows the end of the log and leaves nothing running."""
    command = process.command

    def dying(topology: Topology, component: object, folder: Path, token: str) -> process.Command:
        found = command(topology, component, folder, token)  # type: ignore[arg-type]
        last_words = ["/bin/sh", "-c", "echo 'these are my last words'; exit 3"]
        return replace(found, argv=last_words) if component.name == "replica-2" else found  # type: ignore[attr-defined]

    monkeypatch.setattr(process, "command", dying)
    runtime = ProcessRuntime(topology)
    began_s = time.monotonic()
    with pytest.raises(StackError, match="these are my last words") as caught:
        runtime.up(print)
    assert time.monotonic() - began_s < process.readiness.ENGINE_TIMEOUT_S["sim"], "it was waited for to the end"
    assert "replica-2" in str(caught.value)
    assert not _on_addresses_of(topology)
    assert state.load(runtime.folder) is None


def test_down_leaves_nothing_even_when_the_supervisor_was_killed(
    topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has lost its supervisor is found by the instance id; logs stay."""
    monkeypatch.setattr(process.readiness, "wait_ready", lambda *args: None)
    runtime = ProcessRuntime(topology)
    runtime.up(print)
    found = state.load(runtime.folder)
    assert found is not None
    assert found.supervisor is not None
    until(lambda: bool(_on_addresses_of(topology)))
    os.kill(found.supervisor.pid, signal.SIGKILL)
    until(lambda: family.marked(found.supervisor) is None)  # type: ignore[arg-type]
    assert _on_addresses_of(topology), "the components have outlived their supervisor"
    runtime.down(print)
    assert not family.of_instance(found.instance_id)
    assert not _on_addresses_of(topology)
    assert not Path(found.sockets or "").exists()
    assert state.load(runtime.folder) is None
    assert runtime.logs("gateway-a").exists()


def _on_addresses_of(topology: Topology) -> list[str]:
    connections = psutil.net_connections("tcp4")
    listening = [c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN]
    return [address for address in listening if address.startswith(f"127.0.{topology.instance}.")]


def test_the_stack_gives_way_to_the_load_generator(sim_stack: ProcessRuntime) -> None:
    """Linux shares the processor between sessions first: the stack's has to be nice as a whole."""
    pid = next(state.pid for state in sim_stack.states() if state.name == "gateway-a")
    group = Path(f"/proc/{pid}/autogroup")
    if not group.exists():
        pytest.skip("this kernel groups no sessions")
    assert group.read_text().split()[-1] == str(priority.STACK)
