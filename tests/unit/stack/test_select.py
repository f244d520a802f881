"""stack/runtimes/select.py: which runtime, and why."""

from __future__ import annotations

import docker
import pytest

from harness.model.errors import RuntimeUnavailable
from harness.model.topology import Topology
from stack.runtimes.select import select
from stack.stacks.vllm_haproxy import STACK


@pytest.fixture
def _no_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")


class _Daemon:
    def ping(self) -> bool:
        return True

    def close(self) -> None:
        pass


@pytest.mark.usefixtures("_no_daemon")
def test_auto_takes_processes_where_no_daemon_answers() -> None:
    """It says which socket was tried."""
    runtime, why = select("auto", Topology(STACK))
    assert runtime.name == "process"
    assert "unix:///nonexistent/docker.sock" in why


@pytest.mark.usefixtures("_no_daemon")
def test_docker_without_a_daemon_is_refused_with_the_remedy() -> None:
    """Exit 64, naming what was tried and what works instead."""
    with pytest.raises(RuntimeUnavailable, match="RUNTIME=process") as caught:
        select("docker", Topology(STACK))
    assert caught.value.exit_code == 64
    assert "unix:///nonexistent/docker.sock" in str(caught.value)


@pytest.fixture
def _daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that answers, on machines without one too."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2375")  # no socket file to knock at
    monkeypatch.setattr(docker, "from_env", lambda **kwargs: _Daemon())


@pytest.mark.usefixtures("_daemon")
def test_auto_takes_processes_where_compose_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon alone does not bring the stack up."""
    monkeypatch.setenv("PATH", "/nonexistent")
    runtime, why = select("auto", Topology(STACK))
    assert runtime.name == "process"
    assert "compose" in why


@pytest.mark.usefixtures("_daemon")
def test_auto_takes_docker_where_its_daemon_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The topology becomes one of the docker runtime."""
    monkeypatch.setattr("stack.runtimes.docker.compose_program", lambda: ["docker-compose"])
    runtime, why = select("auto", Topology(STACK))
    assert (runtime.name, runtime.topology.runtime) == ("docker", "docker")
    assert "answers" in why


def test_an_unknown_runtime_is_refused_with_the_known_ones() -> None:
    """A typing error is no reason to guess."""
    with pytest.raises(RuntimeUnavailable, match="auto, docker, process"):
        select("podman", Topology(STACK))
