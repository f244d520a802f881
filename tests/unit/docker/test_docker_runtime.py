"""The docker runtime's own decisions, without a daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from docker.errors import APIError

from harness.model.errors import AdapterError, RuntimeUnavailable, StackError, UsageError
from harness.model.topology import Topology
from stack import keys, state
from stack.middleware.drillyard_engine import TOKEN_VARIABLE
from stack.runtimes import docker as docker_runtime
from stack.runtimes import images
from stack.runtimes.docker import DockerRuntime
from stack.stacks.vllm_haproxy import STACK
from stack.state import StackState

ID = "ab" * 32


class FakeContainer:
    """A container as the SDK shows it."""

    def __init__(self, service: str, **now: Any) -> None:
        usual = {"Status": "running", "Pid": 4242, "Paused": False, "ExitCode": 0}
        moments = {"StartedAt": "2026-01-01T00:00:00.123456789Z", "FinishedAt": "0001-01-01T00:00:00Z"}
        self.attrs = {"State": {**usual, **moments, **now}, "RestartCount": 2, "Image": "sha256:1", "Id": ID}
        self.attrs["HostConfig"] = {"Memory": 0}
        self.labels, self.id = {docker_runtime.SERVICE_LABEL: service}, ID
        self.done: list[Any] = []
        self.answer, self.lost = (0, b"up\n\n"), 0

    @property
    def status(self) -> str:
        """As the SDK takes it from the attributes."""
        return str(self.attrs["State"]["Status"])

    def reload(self) -> None:
        """It was started again."""
        again = {"Pid": 5151, "StartedAt": "2026-01-01T00:00:01.123456789Z"}
        self.attrs = {**self.attrs, "State": {**self.attrs["State"], **again}}

    def stop(self, timeout: int) -> None:
        """Remembered."""
        self.done.append(("stop", timeout))

    def unpause(self) -> None:
        """Remembered."""
        self.done.append("unpause")
        self.attrs["State"]["Paused"] = False

    def update(self, mem_limit: int, memswap_limit: int) -> None:
        """Remembered."""
        self.done.append((mem_limit, memswap_limit))
        self.attrs["HostConfig"]["Memory"] = mem_limit

    def exec_run(self, command: list[str]) -> tuple[int, bytes]:
        """Remembered, and answered between its last argument, twice; of ``lost`` answers a part is missing."""
        self.done.append(command)
        self.lost -= 1
        code, said = self.answer
        edge = command[-1].encode() + b"\n"
        halves = [edge + said, said + edge, b""]
        return code, halves[self.lost % 3] if self.lost >= 0 else edge + said + edge


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DockerRuntime:
    """A runtime whose state says that a stack was started, in a folder of the test's own."""
    monkeypatch.setattr(docker_runtime.state, "STATE_ROOT", tmp_path)
    made = DockerRuntime(Topology(STACK, instance=13, engine="sim"))
    made.folder = tmp_path / "13"
    made.folder.mkdir()
    state.save(made.folder, StackState("docker", "f", made.topology.as_data(), instance_id="mine"))
    return made


@pytest.fixture
def containers(monkeypatch: pytest.MonkeyPatch) -> list[FakeContainer]:
    """What the daemon lists; fill it."""
    found: list[FakeContainer] = []

    def listed(filters: dict[str, str], **_: Any) -> list[FakeContainer]:
        assert filters == {"label": "drillyard.instance_id=mine"}, "containers of somebody else were asked for"
        return found

    def run(image: str, command: list[str], **options: Any) -> None:
        assert image == "sha256:1", "only the container's own image is certain to be there"
        found[0].done.append(("helper", command, options["pid_mode"]))

    client = SimpleNamespace(containers=SimpleNamespace(list=listed, run=run), info=lambda: {"MemTotal": 8 * 1024**3})
    monkeypatch.setattr(images, "connect", lambda: client)
    return found


def test_states_in_the_words_of_all_runtimes(runtime: DockerRuntime, containers: list[FakeContainer]) -> None:
    """In the topology's order; what has no container is missing; «never» is no time."""
    containers += [
        FakeContainer("gateway-a", Status="exited", Pid=0),
        FakeContainer("replica-1"),
        FakeContainer("replica-2", Status="restarting", Pid=0),
        FakeContainer("toxiproxy", Status="paused", Paused=True),
    ]
    found = {s.name: s for s in runtime.states()}
    assert list(found) == [c.name for c in runtime.topology.components]
    assert [found[name].state for name in ("replica-1", "replica-2", "toxiproxy", "gateway-a", "dns")] == [
        "running",
        "failed",
        "paused",
        "stopped",
        "missing",
    ]
    assert (found["replica-1"].pid, found["replica-1"].restarts) == (4242, 2)
    assert (found["replica-1"].since_s or 0) > 0
    assert (found["gateway-a"].pid, found["gateway-a"].since_s) == (None, None)


def test_a_container_that_was_started_again_is_another(runtime: DockerRuntime, containers: list[FakeContainer]) -> None:
    """It keeps its id, and its process may have the pid of the one before; one that does not run is none."""
    containers[:] = [FakeContainer("replica-1"), FakeContainer("gateway-a", Status="exited", Pid=0)]
    first = {s.name: s.incarnation for s in runtime.states()}
    assert {s.name: s.incarnation for s in runtime.states()} == first
    assert first["replica-1"] is not None
    assert first["gateway-a"] is None
    containers[0].reload()
    containers[0].attrs["State"]["Pid"] = 4242
    assert runtime.states()[0].incarnation not in (None, first["replica-1"])


def test_stop_thaws_first_and_keeps_the_grace(runtime: DockerRuntime, containers: list[FakeContainer]) -> None:
    """A frozen process could not obey SIGTERM; half a second of grace is not none."""
    container = FakeContainer("replica-1", Status="paused", Paused=True)
    containers.append(container)
    runtime.stop("replica-1", 0.5)
    assert container.done == ["unpause", ("stop", 1)]


@pytest.mark.parametrize("ours", [True, False])
def test_kill_ends_the_pid_only_where_it_is_the_containers(
    runtime: DockerRuntime, containers: list[FakeContainer], monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    """With a daemon elsewhere, or without the right, the daemon does it in its own pid namespace."""
    container, killed = FakeContainer("replica-1"), list[int]()
    containers.append(container)
    monkeypatch.setattr(docker_runtime.cgroup, "belongs_to", lambda pid, identity: ours and identity == ID)
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(pid))
    runtime.kill("replica-1")
    assert killed == ([4242] if ours else [])
    assert container.done == ([] if ours else [("helper", ["-c", "kill -9 4242"], "host")])


def test_memory_is_limited_and_given_back(runtime: DockerRuntime, containers: list[FakeContainer]) -> None:
    """Without swap, which would hide the limit; Docker cannot be told «none», so the machine's memory stands for it."""
    container = FakeContainer("replica-1")
    containers.append(container)
    assert runtime.memory_limit("replica-1") is None
    runtime.limit_memory("replica-1", 1024**3)
    assert runtime.memory_limit("replica-1") == 1024**3
    runtime.limit_memory("replica-1", None)
    assert runtime.memory_limit("replica-1") is None
    assert container.done == [(1024**3, 1024**3), (8 * 1024**3, 8 * 1024**3)]


def test_kill_of_what_does_not_run_is_refused(runtime: DockerRuntime, containers: list[FakeContainer]) -> None:
    """Pid 0 would be our own process group."""
    containers.append(FakeContainer("replica-1", Status="exited", Pid=0))
    with pytest.raises(StackError, match="replica-1 does not run"):
        runtime.kill("replica-1")


def test_gateway_command_passes_the_command_as_one_argument(
    runtime: DockerRuntime, containers: list[FakeContainer]
) -> None:
    """A shell in the container must not read it; a refusal of the socket is an error, not an answer."""
    container = FakeContainer("gateway-a")
    containers.append(container)
    assert runtime.gateway_command("gateway-a", "show info; $(id)") == "up"
    assert container.done[0][-2] == "show info; $(id)"
    container.answer = (1, b"Connection refused")
    with pytest.raises(AdapterError, match=r"gateway-a does not answer 'show stat'.*Connection refused"):
        runtime.gateway_command("gateway-a", "show stat")


def test_an_answer_that_docker_lost_is_asked_for_again(runtime: DockerRuntime, containers: list[FakeContainer]) -> None:
    """Half of an answer, or none, is never taken for the whole; a daemon that loses all of them is an error."""
    container = FakeContainer("gateway-a")
    containers.append(container)
    container.lost = 3
    assert runtime.gateway_command("gateway-a", "show info") == "up"
    assert len(container.done) == 4
    container.lost = 99
    with pytest.raises(AdapterError, match="Docker lost what gateway-a answered to 'show info'"):
        runtime.gateway_command("gateway-a", "show info")


@pytest.mark.parametrize("error", [APIError("conflict"), requests.exceptions.ReadTimeout("read timed out")])
def test_what_docker_refuses_is_an_adapter_error(
    runtime: DockerRuntime, containers: list[FakeContainer], error: Exception
) -> None:
    """A daemon that refuses or hangs is neither a bug of ours nor a success."""
    container = FakeContainer("replica-1")

    def refuse() -> None:
        raise error

    container.pause = refuse  # type: ignore[attr-defined]
    containers.append(container)
    with pytest.raises(AdapterError, match="replica-1"):
        runtime.pause("replica-1")


def test_a_component_without_container_is_said(runtime: DockerRuntime, containers: list[FakeContainer]) -> None:
    """With the command that makes it."""
    with pytest.raises(StackError, match=r"no container of replica-2.*make up"):
        runtime.start("replica-2")


def test_a_process_stack_of_the_same_number_is_left_alone(
    runtime: DockerRuntime, containers: list[FakeContainer]
) -> None:
    """One instance, one runtime."""
    found = StackState("process", "f", runtime.topology.as_data(), "mine")
    state.save(runtime.folder, found)
    with pytest.raises(UsageError, match="process runtime"):
        runtime.states()


@contextmanager
def program(folder: Path, text: str) -> Iterator[list[str]]:
    """A stand-in for docker-compose."""
    path = folder / "docker-compose"
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    yield [str(path)]


def test_compose_that_fails_is_quoted(runtime: DockerRuntime, tmp_path: Path) -> None:
    """The end of what it said; and it runs for this checkout's project."""
    said = r"(?s)ended with 1:.*'-p', 'drillyard-13-.*port is already allocated"
    with (
        program(tmp_path, "import sys; print(sys.argv[1:3]); sys.exit('port is already allocated')") as found,
        pytest.raises(StackError, match=said),
    ):
        runtime._compose(found, ["up"], {})


def test_compose_is_found_in_either_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plug-in first, docker-compose else, and with neither a line that says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeUnavailable, match="docker-compose"):
        docker_runtime.compose_program()
    with program(tmp_path, "") as found:
        assert docker_runtime.compose_program() == found
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0))
        (tmp_path / "docker").symlink_to(found[0])
        assert docker_runtime.compose_program() == ["docker", "compose"]


def test_a_foreign_model_is_mounted_where_the_engine_looks(
    runtime: DockerRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own models come with compose.yaml; a folder of the user's needs its own mounts, a foreign key file too."""
    monkeypatch.setattr(docker_runtime.engines, "mounts", lambda _: {"/data/mine": "/models/mine-1"})
    monkeypatch.setenv("DRILLYARD_KEYS_FILE", str(tmp_path / "k.json"))
    added = runtime._additions()["services"]
    assert added["config"]["volumes"] == ["/data/mine:/data/mine:ro", f"{tmp_path / 'k.json'}:/keys.json:ro"]
    assert added["replica-2"]["volumes"] == ["/data/mine:/models/mine-1:ro"]


@pytest.mark.parametrize(
    ("count", "expected"), [(1, ["0", "0"]), (2, ["0", "1"]), (4, ["0", "1"]), (5, [None, None]), (None, ["0", "0"])]
)
def test_on_few_cores_a_replica_stays_on_its_own(
    runtime: DockerRuntime, monkeypatch: pytest.MonkeyPatch, count: int | None, expected: list[str | None]
) -> None:
    """An API server must not wait for another replica's engine; with a core for every process nobody is bound."""
    monkeypatch.setattr(docker_runtime.priority.os, "cpu_count", lambda: count)
    services = runtime._additions().get("services", {})
    assert [services.get(name, {}).get("cpuset") for name in STACK.of("replica")] == expected


def test_on_a_gpu_nobody_is_bound_to_a_core(runtime: DockerRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the engine computes elsewhere."""
    monkeypatch.setattr(docker_runtime.priority.os, "cpu_count", lambda: 2)
    monkeypatch.setenv("GPU", "1")
    assert runtime._additions() == {}


def test_a_replica_is_given_another_model_by_its_start_script(tmp_path: Path) -> None:
    """The script that its container runs at the next start; None is what the topology says."""
    runtime = DockerRuntime(Topology(STACK, engine="sim"))
    runtime.folder = tmp_path
    (tmp_path / "config" / "replica-2").mkdir(parents=True)
    script = tmp_path / "config" / "replica-2" / "start.sh"
    for model, version in (("v2", "v2@sim"), (None, "v1@sim")):
        runtime.serve("replica-2", model)
        assert version in script.read_text()
    token = keys.engine_token(keys.load(tmp_path / "keys.json").operator)
    assert f"export {TOKEN_VARIABLE}={token}\n" in script.read_text()
