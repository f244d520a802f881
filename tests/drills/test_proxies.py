"""A company's proxy in the environment: no call to loopback uses it, and it is told of none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.runtimes.process import ProcessRuntime
from stack.topology import Topology
from tests.drills.drill_process import SHORT, Ended, Running
from tests.drills.lanes import judged
from tests.drills.outcome import CHECKOUT, run_name, until_judged
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


def test_a_drill_and_the_doctor_use_no_proxy(topology: Topology, tmp_path: Path) -> None:
    """The whole way, from no stack to PASS and a clean bill of health: not one connection comes to the proxy."""
    with latest_kept(), listening(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n") as proxy:
        arguments = ("--seed", "1", "--scenario", str(SHORT))
        drills: list[Ended] = []
        try:
            for ended in until_judged(lambda: Running(topology, tmp_path, *arguments, environment=usual(proxy)).end()):
                drills.append(ended)
            assert judged(drills[-1]).code == 0, drills[-1]
            assert drills[-1].folder.plan()["proxy"].startswith("none: everything is on loopback")
        finally:
            for one in drills:
                if run_name(one.err):
                    shutil.rmtree(one.folder.path, ignore_errors=True)
        asked = [sys.executable, "-m", "harness", "doctor", "--instance", str(topology.instance)]
        doctor = subprocess.run(
            asked, cwd=CHECKOUT, env=os.environ | usual(proxy), capture_output=True, text=True, timeout=120
        )
        assert doctor.returncode == 0, doctor.stdout + doctor.stderr
        assert proxy.connections == 0, proxy.heard
