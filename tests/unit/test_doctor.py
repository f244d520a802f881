"""The doctor and the lock, without a stack: who is spared, what a reboot leaves, what cannot be asked."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import doctor, lock
from harness.errors import AdapterError, UsageError
from harness.leftovers import links
from harness.leftovers.base import Processes, Site
from harness.record import RunFolder
from stack import config, state
from stack.runtimes.base import ComponentState
from stack.topology import Topology
from tests import runs as stored
from tests.integration.simulated_stack import free_topology

TOPOLOGY = Topology(instance=0, engine="sim")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a state and runs of its own."""
    monkeypatch.setattr(state, "STATE_ROOT", tmp_path / ".state")
    monkeypatch.setattr(doctor, "RUNS", tmp_path / "runs")
    (tmp_path / ".state" / "0").mkdir(parents=True)
    return tmp_path


def kinds(found: doctor.Findings) -> list[str]:
    """What is left, in a word each."""
    return [leftover.kind for leftover in found.left]


def test_nothing_up_and_nothing_left_is_nothing_found(checkout: Path) -> None:
    """An instance that was taken down is healthy."""
    assert doctor.instances() == [0]
    assert doctor.examine(0) == doctor.Findings()
    assert doctor.examine(17) == doctor.Findings()


def test_a_lock_that_is_given_back_is_empty(tmp_path: Path) -> None:
    """Only a holder that died leaves its name; the next one is told and takes over."""
    path, said = tmp_path / "run.lock", list[str]()
    with lock.held(path, "a run of x", said.append):
        assert lock.look(path) == lock.Seen(f"a run of x (pid {os.getpid()})", held=True)
        with pytest.raises(UsageError, match="a run of x"), lock.held(path, "another", said.append):
            pytest.fail("two holders")
    assert lock.look(path) == lock.Seen("", held=False)
    path.write_text("a run of y (pid 1)")
    with lock.held(path, "a run of z", said.append):
        pass
    assert said == ["the lock of this stack is taken over from a run of y (pid 1), which is gone"]


def test_a_child_that_inherits_the_lock_keeps_it(tmp_path: Path) -> None:
    """The watchdog goes on holding what the harness held, under its own name."""
    path = tmp_path / "run.lock"
    code = "import sys; from harness import lock; lock.rename(int(sys.argv[1]), 'the watchdog'); print(''); input()"
    with lock.held(path, "a run", pytest.fail) as descriptor:
        child = subprocess.Popen(
            [sys.executable, "-u", "-c", code, str(descriptor)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(descriptor,),
        )  # fmt: skip
        assert child.stdout is not None
        child.stdout.readline()
    try:
        assert lock.look(path) == lock.Seen(f"the watchdog (pid {child.pid})", held=True)
    finally:
        child.communicate(b"\n", timeout=10)
    assert not lock.look(path).held


def test_after_a_reboot_the_state_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs, and the supervisor's pid belongs to somebody else by now, who is not touched."""
    monkeypatch.setattr(doctor, "RUNS", tmp_path)
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with free_topology() as topology, stranger:
        folder = state.instance_folder(topology)
        folder.mkdir(parents=True, exist_ok=True)
        mark = state.ProcessMark(stranger.pid, created_s=1.0)
        stack = state.StackState("process", "none", state.topology_data(topology), supervisor=mark)
        state.save(folder, replace(stack, sockets=str(tmp_path / "gone")))
        found = doctor.examine(topology.instance)
        assert "supervisor is gone" in {leftover.kind: leftover.what for leftover in found.left}["stack"]
        assert not doctor.repair(topology.instance).left
        assert state.load(folder) is None
        assert doctor.examine(topology.instance) == doctor.Findings()
        assert stranger.poll() is None
        stranger.communicate(b"\n", timeout=10)


def test_a_broken_state_file_is_told_and_left_to_people(checkout: Path) -> None:
    """What cannot be understood is not repaired: it stays, with what to do."""
    (checkout / ".state" / "0" / "stack.json").write_text("{")
    found = doctor.repair(0)
    assert kinds(found) == ["stack"]
    assert "NOT repaired" in found.left[0].remedy
    assert not found.repaired


def test_a_run_without_a_verdict_gets_one(checkout: Path) -> None:
    """Its harness and its watchdog died after the load: it is judged, as interrupted."""
    run = stored.healthy()
    run.plan["instance"] = 0
    folder = run.write(checkout / "runs" / "unjudged")
    assert kinds(doctor.examine(0)) == ["run"]
    assert kinds(doctor.repair(0)) == []
    assert folder.read_json("verdict.json")["status"] == "INCONCLUSIVE"
    assert "the doctor judges" in folder.read_json("verdict.json")["reason"]
    assert (folder.path / "report.html").exists()


class FakeToxiproxy:
    """Answers with these proxies, or not at all."""

    def __init__(self, proxies: list[dict[str, Any]] | None) -> None:
        self._proxies = proxies

    def proxies(self) -> dict[str, dict[str, Any]]:
        """As the adapter."""
        if self._proxies is None:
            raise AdapterError("no answer within 1 s")
        return {proxy["name"]: proxy for proxy in self._proxies}


def site(proxies: list[dict[str, Any]] | None, killed: list[str]) -> Site:
    """An instance whose toxiproxy runs."""
    found = Site(0, Path(), Path(), Processes({}, {}))
    world = SimpleNamespace(
        topology=TOPOLOGY, toxiproxy=FakeToxiproxy(proxies), runtime=SimpleNamespace(kill=killed.append)
    )
    found.__dict__["world"] = world
    found.__dict__["states"] = {"toxiproxy": ComponentState("toxiproxy", "running", 1, 1.0, 0)}
    return found


def healthy_proxies() -> list[dict[str, Any]]:
    """What a toxiproxy in a container says of them."""
    return [
        {**proxy, "toxics": [], "listen": f"[::]:{proxy['listen'].rpartition(':')[2]}"}
        for proxy in config.proxies(TOPOLOGY)
    ]


def test_a_toxiproxy_that_does_not_answer_is_restarted() -> None:
    """Its known deadlock: every question hangs, and only a restart helps."""
    killed: list[str] = []
    [found] = links.find(site(None, killed))
    assert found.kind == "toxiproxy"
    found.repair()
    assert killed == ["toxiproxy"]


def test_proxies_are_compared_with_the_topology() -> None:
    """As configured: nothing. Missing, or leading elsewhere: named."""
    assert list(links.find(site(healthy_proxies(), []))) == []
    missing, astray, *rest = healthy_proxies()
    astray["upstream"] = "127.0.0.1:1"
    found = list(links.find(site([astray, *rest], [])))
    assert [leftover.kind for leftover in found] == ["proxy", "proxy"]
    assert missing["name"] in found[0].what
    assert "127.0.0.1:1" in found[1].what


def test_the_run_that_asks_is_spared(checkout: Path) -> None:
    """A run's own open journal is no leftover; that of another run of the instance is."""
    for name in ("mine", "dead"):
        (checkout / "runs" / name).mkdir(parents=True)
        plan = {"schema": 1, "run_id": name, "drill": "x", "scenario": {}, "anchor": {}, "instance": 0}
        RunFolder(checkout / "runs" / name).write_json("plan.json", plan)
    among = [checkout / "runs" / name for name in ("mine", "dead")]
    asking = Site(0, Path(), checkout / "runs", Processes({}, {}), asking=RunFolder(among[0]))
    assert [run.path.name for run in asking.dead_runs(among)] == ["dead"]
