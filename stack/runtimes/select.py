"""Which runtime a stack runs in: what the user chose, else Docker where its daemon answers, else host processes.

A service that is not ours is never chosen by itself.
"""

from __future__ import annotations

import importlib
import os
import socket
from dataclasses import replace

import docker
import docker.errors
import requests

from harness.model.errors import RuntimeUnavailable
from harness.model.topology import Topology
from stack.runtimes.base import NAMES, Runtime
from stack.runtimes.external import ExternalRuntime
from stack.runtimes.process import ProcessRuntime

DAEMON_TIMEOUT_S = 2


def select(name: str, topology: Topology) -> tuple[Runtime, str]:
    """The runtime called ``name`` (or the best one for ``auto``) for this topology, and why it is that one.

    Raises RuntimeUnavailable for an unknown name, and for ``docker`` where no daemon answers.
    """
    if name not in NAMES:
        raise RuntimeUnavailable(f"runtime {name!r} is not known; RUNTIME is one of {', '.join(NAMES)}")
    if name == "process":
        return _process(topology), "RUNTIME=process"
    if name == "external":
        return ExternalRuntime(topology), "RUNTIME=external"
    trouble = docker_trouble()
    if trouble is None:
        return _docker(topology), "RUNTIME=docker" if name == "docker" else "the Docker daemon answers"
    if name == "docker":
        raise RuntimeUnavailable(
            f"RUNTIME=docker, but {trouble}. Start the daemon (or set DOCKER_HOST, or join the group docker) and "
            f"install Compose, or use RUNTIME=process, which needs neither"
        )
    return _process(topology), trouble


def docker_trouble() -> str | None:
    """Why Docker cannot be used, naming what was tried; None when its daemon answers and Compose is there."""
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    try:
        _knock(address)
        client = docker.from_env(timeout=DAEMON_TIMEOUT_S)
        try:
            client.ping()
        finally:
            client.close()
    except (docker.errors.DockerException, requests.RequestException, OSError, ValueError) as error:
        return f"no Docker daemon answers on {address} ({_first_line(error)})"
    try:
        importlib.import_module("stack.runtimes.docker").compose_program()
    except RuntimeUnavailable as error:
        return str(error)
    return None


def _knock(address: str) -> None:
    """OSError when a local daemon's socket takes no connection: the SDK would leave its own socket open then."""
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.settimeout(DAEMON_TIMEOUT_S)
            knocking.connect(address.removeprefix("unix://"))


def _process(topology: Topology) -> Runtime:
    return ProcessRuntime(replace(topology, runtime="process"))


def _docker(topology: Topology) -> Runtime:
    module = importlib.import_module("stack.runtimes.docker")  # only where a daemon answers
    runtime: Runtime = module.DockerRuntime(replace(topology, runtime="docker"))
    return runtime


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
