"""A company's proxy in the environment: no call to loopback uses it, and it is told of none.

Nothing here depends on how the run is judged, so other tests may run beside it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from harness.model.errors import StackError
from harness.model.topology import TUNNEL_HOST, Topology
from harness.plan import guard
from harness.plan.guard import External
from harness.probes.path import PathProbe
from harness.run.outcome import run_name
from stack.engines import DEPLOYMENT
from stack.runtimes.external import ExternalRuntime
from stack.runtimes.process import ProcessRuntime
from stack.runtimes.supervisor import start_file
from stack.stacks import external
from stack.state import socket_folder
from tests.connect_proxy import NAME, PASSWORD, connect_proxy
from tests.drills.drill_process import SHORT, Running
from tests.drills.outcome import CHECKOUT
from tests.integration.foreign_service import KEY, foreign_service
from tests.integration.simulated_stack import free_topology
from tests.listener import Listener, listening
from tests.trust.lanes import latest_kept

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def topology() -> Iterator[Topology]:
    """An instance whose stack comes up in that environment, too."""
    with free_topology() as found:
        yield found
        ProcessRuntime(found).down(print)


def usual(proxy: Listener) -> dict[str, str]:
    """Every variable there is, in both spellings, with the usual exceptions."""
    named = {f"{scheme}_proxy": f"http://127.0.0.1:{proxy.port}" for scheme in ("http", "https", "all")}
    said = {**named, "no_proxy": "localhost,127.0.0.1"}
    return {**said, **{name.upper(): value for name, value in said.items()}}


@contextmanager
def permissive() -> Iterator[None]:
    """The umask of a shell that hides nothing."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def open_to_others(*paths: Path) -> list[Path]:
    """Which of these other users of the machine could enter or open, if they came so far."""
    return [path for path in paths if not path.is_symlink() and path.stat().st_mode & 0o077]


@pytest.mark.night
def test_a_drill_and_the_doctor_use_no_proxy(topology: Topology, tmp_path: Path) -> None:
    """The whole way, from no stack to a verdict and a clean bill of health: not one connection comes to the proxy.

    And what that wrote, keys and sockets among it, is for its user alone, whatever the shell's umask is.
    """
    with latest_kept(), permissive(), listening(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n") as proxy:
        arguments = ("--seed", "1", "--scenario", str(SHORT))
        ended = Running(topology, tmp_path, *arguments, environment=usual(proxy)).end()
        assert run_name(ended.err), ended
        try:
            assert ended.code in (0, 1, 2), ended
            assert ended.folder.plan()["proxy"].startswith("none: everything is on loopback")
            assert ended.folder.requests()["outcome"].eq("ok").sum() > 5, ended
            of_run = (ended.folder.path, *ended.folder.path.rglob("*"))
            assert len(of_run) > 20
            # What this very process has made in the state's folder has the modes of its umask, and nobody gets there.
            assert open_to_others(*of_run, ProcessRuntime(topology).folder, socket_folder(topology)) == []
        finally:
            shutil.rmtree(ended.folder.path)
        asked = [sys.executable, "-m", "harness", "doctor", "--instance", str(topology.instance)]
        doctor = subprocess.run(
            asked, cwd=CHECKOUT, env=os.environ | usual(proxy), capture_output=True, text=True, timeout=120
        )
        assert doctor.returncode == 0, doctor.stdout + doctor.stderr
        assert proxy.connections == 0, proxy.heard


def led(topology: Topology, port: int) -> Topology:
    """The topology in front of a service at ``port``, by the name that the environment's proxy knows."""
    target = guard.admit(External(f"http://{NAME}:{port}", (NAME,)), guard.unresolved, topology.host(TUNNEL_HOST))
    theirs = external.stack(target)
    return replace(topology, stack=theirs, runtime="external", engine="external", target=target)


def holding(secret: str, folder: Path) -> list[Path]:
    """The files below ``folder`` that hold ``secret``."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_another_proxy_is_another_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """A running stack keeps to the proxy that it was started with: another address or password starts it again.

    Its password is in the file that starts the tunnel, for this user alone, and goes with the stack.
    """
    with free_topology() as topology, connect_proxy() as one, connect_proxy() as other:
        monkeypatch.setenv("http_proxy", one.url())
        monkeypatch.setenv("no_proxy", "localhost")
        runtime = ExternalRuntime(led(topology, one.port))
        try:
            assert (runtime.up(print), runtime.up(print)) == (False, True)
            monkeypatch.setenv("no_proxy", "localhost,other.test")
            assert runtime.up(print) is True
            monkeypatch.setenv("http_proxy", other.url())
            assert runtime.up(print) is False
            assert set(other.asked) == {f"{NAME}:{one.port}"}
            assert holding(PASSWORD, runtime.folder) == [start_file(runtime.folder, "tunnel")]
            assert open_to_others(start_file(runtime.folder, "tunnel")) == []
        finally:
            runtime.down(print)
        assert holding(PASSWORD, runtime.folder) == []


def test_a_target_is_reached_through_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the link and past it, by a name that the proxy alone knows; a wrong password is said before a drill."""
    with free_topology() as topology, connect_proxy() as proxy, foreign_service(tmp_path) as foreign:
        monkeypatch.setenv("http_proxy", proxy.url())
        behind = led(topology, foreign.port)
        assert behind.target is not None
        probe, runtime = PathProbe(behind, KEY, DEPLOYMENT), ExternalRuntime(behind)
        try:
            runtime.up(print)
            link, target = behind.link("client-to-target"), behind.target
            for asked in (probe.measure(link, 10.0), probe.straight(target, 10.0)):
                assert asyncio.run(asked).outcome == "ok"
            assert set(proxy.asked) == {f"{NAME}:{foreign.port}"}
        finally:
            runtime.down(print)
        monkeypatch.setenv("http_proxy", proxy.url("wrong-password"))
        with pytest.raises(StackError, match=r"does not connect to .*407 Proxy Authentication Required") as refused:
            runtime.up(print)
        assert "wrong-password" not in str(refused.value)
