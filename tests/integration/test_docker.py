"""The docker runtime on a real daemon, with the simulator as engine. Skipped where no daemon answers."""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness.adapters.gateways.haproxy import Haproxy
from harness.evidence.record import RunFolder
from harness.model.errors import UsageError
from harness.model.topology import Topology
from harness.run.outcome import run_name
from stack.runtimes import cgroup, images
from stack.runtimes.base import ComponentState
from stack.runtimes.docker import DockerRuntime
from stack.runtimes.select import docker_trouble
from stack.stacks.vllm_haproxy import STACK
from tests.drills.drill_process import Running, toxics
from tests.drills.outcome import CHECKOUT
from tests.waiting import eventually

_TROUBLE = docker_trouble()
pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(900),  # the first run on a machine builds the images
    pytest.mark.skipif(_TROUBLE is not None, reason=f"needs Docker: {_TROUBLE}"),
]
INSTANCE = 213


@pytest.fixture(scope="module")
def runtime() -> Iterator[DockerRuntime]:
    """One stack for all tests here; each leaves it running."""
    made = DockerRuntime(Topology(STACK, instance=INSTANCE, engine="sim"))
    lines: list[str] = []
    made.down(lines.append)
    made.preflight()
    assert made.up(lines.append) is False, "\n".join(lines)
    yield made
    made.down(lines.append)


def state_of(runtime: DockerRuntime, name: str) -> ComponentState:
    """What one component does now."""
    return next(s for s in runtime.states() if s.name == name)


def answers(runtime: DockerRuntime, name: str) -> bool:
    """Whether the component answers on its host address."""
    component = runtime.topology.component(name)
    try:
        url = component.url(component.probe_port, component.liveness_path or "/")
        return httpx.get(url, timeout=1.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_warm_stack_is_reused(runtime: DockerRuntime) -> None:
    """Nothing is started, nothing is said; every component keeps its process."""
    before, lines = [s.pid for s in runtime.states()], list[str]()
    assert runtime.up(lines.append) is True
    assert lines == []
    assert [s.pid for s in runtime.states()] == before


def test_everything_listens_on_loopback_only(runtime: DockerRuntime) -> None:
    """As Docker itself tells, not as compose.yaml says."""
    client = images.connect()
    label = {"label": f"com.docker.compose.project={runtime.project}"}
    bindings = [
        binding["HostIp"]
        for container in client.containers.list(filters=label)
        for published in container.ports.values()
        for binding in published or ()
    ]
    assert len(bindings) >= 15
    assert {address for address in bindings if not address.startswith(f"127.0.{INSTANCE}.")} == set()


@pytest.mark.parametrize("by", ["us", "daemon"])
def test_a_killed_replica_comes_back_by_itself(
    runtime: DockerRuntime, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restart policy acts as after a crash: one restart more, a new process, answering again.

    Also where we must not signal it ourselves (no root, or a daemon elsewhere): then a helper container does.
    """
    if by == "daemon":
        monkeypatch.setattr(cgroup, "belongs_to", lambda *_: False)
    before = state_of(runtime, "replica-1")
    runtime.kill("replica-1")
    assert eventually(lambda: state_of(runtime, "replica-1").restarts == before.restarts + 1, 30)
    assert eventually(lambda: answers(runtime, "replica-1"), 30)
    assert state_of(runtime, "replica-1").pid != before.pid


def test_a_stopped_replica_stays_down_until_started(runtime: DockerRuntime) -> None:
    """And stops within its grace: it got SIGTERM and obeyed."""
    began = time.monotonic()
    runtime.stop("replica-2", 8.0)
    assert time.monotonic() - began < 8.0
    assert state_of(runtime, "replica-2").state == "stopped"
    assert not answers(runtime, "replica-2")
    runtime.start("replica-2")
    assert eventually(lambda: answers(runtime, "replica-2"), 30)


@pytest.mark.parametrize("name", ["gateway-b", "dns"])
def test_what_ignores_its_default_signals_stops_in_time(runtime: DockerRuntime, name: str) -> None:
    """HAProxy and PowerDNS as a container's first process would wait for SIGKILL."""
    began = time.monotonic()
    runtime.stop(name, 8.0)
    stopped_s = time.monotonic() - began
    runtime.start(name)
    assert stopped_s < 8.0
    assert eventually(lambda: state_of(runtime, name).state == "running", 30)


def test_a_paused_replica_is_silent_until_thawed(runtime: DockerRuntime) -> None:
    """Unpausing twice does no harm."""
    runtime.pause("replica-1")
    assert state_of(runtime, "replica-1").state == "paused"
    assert not answers(runtime, "replica-1")
    runtime.unpause("replica-1")
    runtime.unpause("replica-1")
    assert eventually(lambda: answers(runtime, "replica-1"), 10)


def test_a_paused_replica_can_be_killed(runtime: DockerRuntime) -> None:
    """A frozen process takes its SIGKILL when it is thawed."""
    before = state_of(runtime, "replica-1").restarts
    runtime.pause("replica-1")
    runtime.kill("replica-1")
    assert eventually(lambda: state_of(runtime, "replica-1").restarts == before + 1, 30)
    assert eventually(lambda: answers(runtime, "replica-1"), 30)


def test_the_gateways_admin_socket_answers(runtime: DockerRuntime) -> None:
    """Inside the container only; commands with blanks arrive whole."""
    assert "replica-1" in runtime.gateway_command("gateway-a", "show servers state replicas")


def test_figures_and_logs(runtime: DockerRuntime) -> None:
    """Memory and CPU of a Python process are more than a megabyte and not nothing; the log is the gateway's own."""
    found = runtime.stats("replica-1")
    assert (found.rss_bytes or 0) > 1_000_000
    assert (found.cpu_s or 0) > 0
    gateway = runtime.topology.component("gateway-a")
    identity = f"probe-{uuid.uuid4().hex}"
    httpx.get(gateway.url(path="/v1/nothing"), headers={"X-Request-Id": identity}, trust_env=False)
    assert eventually(lambda: identity in runtime.logs("gateway-a"), 5)


def test_the_exporter_reads_the_gateways_logs(runtime: DockerRuntime) -> None:
    """They reach it through a volume: without them there is no alert on latency or failures."""
    exporter = runtime.topology.component("exporter")

    def readable() -> bool:
        text = httpx.get(exporter.url(path="/metrics"), trust_env=False).text
        return all(
            f'drillyard_gateway_log_readable{{gateway="{name}"}} 1.0' in text for name in ("gateway-a", "gateway-b")
        )

    assert eventually(readable, 15)


def test_extra_certificates_stay_in_no_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The build could read them, and neither a layer nor the image's history holds a trace."""
    client, mark = images.connect(), f"secret-{uuid.uuid4().hex}"
    base = images.ensure(client, ["gateway"], print)["gateway"]
    bundle = tmp_path / "ca.pem"
    bundle.write_text(mark + "\n")
    monkeypatch.setenv("EXTRA_CA_BUNDLE", str(bundle))
    dockerfile = f"FROM {base}\nARG EXTRA_CA_URL=\nRUN with-extra-ca sh -c 'wc -c < \"$SSL_CERT_FILE\" > /seen'\n"
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text(dockerfile)
    with images.extra_ca() as url:
        built, _ = client.images.build(
            path=str(tmp_path / "context"), buildargs={"EXTRA_CA_URL": url}, network_mode="host", nocache=True, rm=True
        )
    try:
        seen = client.containers.run(built.id, ["cat", "/seen"], remove=True)
        assert int(seen) == len(mark) + 1
        archive = io.BytesIO(b"".join(built.save()))
        with tarfile.open(fileobj=archive) as found:
            contents = [file.read() for member in found if (file := found.extractfile(member)) is not None]
        assert len(contents) > 3
        assert not any(mark.encode() in content for content in contents)
    finally:
        client.images.remove(built.id, force=True)


def test_nothing_is_left_after_down() -> None:
    """No container, no network, no volume of the project; a second time it says that nothing runs."""
    runtime = DockerRuntime(Topology(STACK, instance=INSTANCE + 1, engine="sim"))
    lines: list[str] = []
    runtime.up(lines.append)
    runtime.down(lines.append)
    for kind in (["ps", "--all"], ["network", "ls"], ["volume", "ls"]):
        command = ["docker", *kind, "--quiet", "--filter", f"label=com.docker.compose.project={runtime.project}"]
        assert subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout == ""
    lines.clear()
    runtime.down(lines.append)
    assert lines == [f"instance {INSTANCE + 1}: nothing runs"]


def test_a_label_proves_nothing(runtime: DockerRuntime) -> None:
    """A container that carries our project's name, but not our instance id, is named and left alone."""
    client = images.connect()
    image = images.ensure(client, ["gateway"], print)["gateway"]
    labels = {"com.docker.compose.project": runtime.project, "com.docker.compose.service": "somebody"}
    foreign = client.containers.create(image, ["true"], labels=labels)
    try:
        for refused in (runtime.up, runtime.down):
            with pytest.raises(UsageError, match=str(foreign.name)):
                refused(print)
        assert client.containers.get(foreign.id).status == "created"
    finally:
        foreign.remove(force=True)
    assert runtime.up(print) is True


CRASH = """
name: crash
description: A toxic, a frozen replica, a stopped gateway, another weight.
partial: true
load: {rate: 10/s, cohorts: [{name: chat, users: 20}]}
phases:
  - {name: warm-up, kind: warmup, duration: 1s}
  - {name: baseline, kind: baseline, duration: 3s}
  - name: broken
    kind: fault
    duration: 60s
    faults:
      - {type: latency, on: gateway-a-to-replica-1, options: {latency: 20s}}
      - {type: pause, on: replica-2}
      - {type: stop, on: gateway-b, options: {grace: 1s}}
      - {type: weight, on: replica-1, options: {percent: 50, gateways: [gateway-a]}}
  - {name: recovery, kind: recovery, duration: 5s}
"""


def test_a_killed_harness_leaves_no_fault_in_containers(runtime: DockerRuntime, tmp_path: Path) -> None:
    """SIGKILL while four kinds of fault hold: toxics, pauses and weights are gone and the gateway is started."""
    path = tmp_path / "crash.yaml"
    path.write_text(CRASH)
    running = Running(runtime.topology, tmp_path, "--runtime", "docker", "--scenario", str(path))
    events: list[str] = []

    def all_injected() -> bool:
        name = run_name(running.said)
        events[:] = [e.kind for e in RunFolder(CHECKOUT / "runs" / name).events()] if name else []
        return events.count("fault_injected") == 4

    running.wait_for(all_injected, 90)
    running.process.kill()
    running.process.wait()
    assert eventually(lambda: not toxics(runtime.topology), 5), toxics(runtime.topology)
    assert eventually(lambda: state_of(runtime, "replica-2").state == "running", 5)
    assert eventually(lambda: state_of(runtime, "gateway-b").state == "running", 5)
    assert eventually(lambda: Haproxy(runtime, "gateway-a").servers()["replica-1"].weight == 100, 5)
    folder = CHECKOUT / "runs" / str(run_name(running.said))
    assert eventually(lambda: (folder / "report.html").exists(), 60)
    assert RunFolder(folder).read_json("verdict.json")["status"] != "PASS"
