"""The doctor on a real stack: leftovers made by hand are found by name, repaired, and gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness import doctor, lock
from harness.adapters.haproxy import Haproxy, Server
from harness.adapters.simulator import Simulator
from harness.adapters.toxiproxy import Toxic, Toxiproxy
from harness.commands import doctor as command
from harness.record import RunFolder
from harness.undo import Journal, Undo
from stack import state
from stack.runtimes.process import ProcessRuntime

LATE = Toxic("late", "latency", "downstream", {"latency": 200})


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs of our own, where the doctor looks too."""
    monkeypatch.setattr(doctor, "RUNS", tmp_path)
    return tmp_path


def toxiproxy(stack: ProcessRuntime) -> Toxiproxy:
    """The stack's toxiproxy."""
    api = stack.topology.component("toxiproxy")
    return Toxiproxy(api.address, api.ports["api"])


def dead_run(runs: Path, stack: ProcessRuntime) -> RunFolder:
    """The folder of a run on that stack whose harness is no more."""
    run = RunFolder.create(runs, "dead")
    anchor = {"mono_s": 0.0, "wall": "2026-01-01T00:00:00+00:00"}
    plan = {"schema": 1, "run_id": "dead", "drill": "timeout-spike", "scenario": {}, "anchor": anchor}
    run.write_json("plan.json", {**plan, "instance": stack.topology.instance})
    run.write_json("verdict.json", {})
    return run


@contextmanager
def idle(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing, with the command line and the environment of one that matters."""
    line = [sys.executable, "-c", "import signal; signal.pause()", *arguments]
    with subprocess.Popen(line, env={**os.environ, **environment}) as process:
        try:
            yield process
        finally:
            process.kill()


def doctored(stack: ProcessRuntime, *, fix: bool = False) -> tuple[int, dict[str, Any]]:
    """What the command answers for this instance: exit code and data."""
    out = StringIO()
    code = command.examine(stack.topology.instance, fix=fix, as_json=True, console=Console(file=out))
    return code, json.loads(out.getvalue())


Mess = Callable[[ProcessRuntime, Path], Iterator[str]]


def toxic(stack: ProcessRuntime, runs: Path) -> Iterator[str]:
    """A toxic that nobody wrote down."""
    toxiproxy(stack).add("gateway-a-to-replica-1", LATE)
    yield "gateway-a-to-replica-1: latency"
    assert toxiproxy(stack).toxics("gateway-a-to-replica-1") == []


def journal(stack: ProcessRuntime, runs: Path) -> Iterator[str]:
    """A fault of a run that was killed together with its watchdog."""
    run, link = dead_run(runs, stack), "client-to-gateway-b"
    listen, upstream = toxiproxy(stack).addresses(link)
    arguments = {"proxy": link, "toxics": ["late"], "listen": listen, "upstream": upstream}
    Journal(run.path / "undo.jsonl").will_need(Undo(f"broken/latency/{link}", "remove_toxics", arguments))
    toxiproxy(stack).add(link, LATE)
    yield "run dead died without taking back what it injected: remove_toxics of client-to-gateway-b"
    assert Journal(run.path / "undo.jsonl").open_entries() == []
    assert [event.kind for event in run.events()] == ["interrupted", "fault_healed"]


def proxy(stack: ProcessRuntime, runs: Path) -> Iterator[str]:
    """A link that is cut."""
    toxiproxy(stack)._call("post", "/proxies/gateway-b-to-replica-2", json={"enabled": False})
    yield "gateway-b-to-replica-2: its proxy is disabled"
    assert toxiproxy(stack).proxies()["gateway-b-to-replica-2"]["enabled"]


def paused(stack: ProcessRuntime, runs: Path) -> Iterator[str]:
    """A frozen replica."""
    stack.pause("replica-2")
    yield "replica-2 is paused"
    assert {s.name: s.state for s in stack.states()}["replica-2"] == "running"


def switch(stack: ProcessRuntime, runs: Path) -> Iterator[str]:
    """A defect of the simulator that nobody switched off."""
    replica = Simulator(stack.topology.component("replica-1").url())
    replica.behave({"wrong_model": "v9"})
    yield "replica-1 still has defects switched on: wrong_model = v9"
    assert replica.behaviour()["wrong_model"] is None


def component(stack: ProcessRuntime, runs: Path) -> Iterator[str]:
    """A component that was stopped and never started again."""
    stack.stop("exporter", grace_s=5)
    yield "exporter is stopped"
    assert {s.name: s.state for s in stack.states()}["exporter"] in ("starting", "running")


def server(stack: ProcessRuntime, runs: Path) -> Iterator[str]:
    """A replica that was drained for a deployment that never came."""
    gateway = Haproxy(stack, "gateway-a")
    gateway.set_state("replica-1", "drain")
    gateway.set_weight("replica-1", 20)
    yield "gateway-a has replica-1 in state drain with weight 20 %"
    assert gateway.servers()["replica-1"] == Server("ready", 100)


def orphan(stack: ProcessRuntime, runs: Path) -> Iterator[str]:
    """A load generator whose harness is gone."""
    with idle("-m", "harness.load", str(runs / "dead")) as process:
        yield f"the load generator of run dead still runs (process {process.pid})"
        assert process.wait(timeout=5) == -signal.SIGTERM


def stray(stack: ProcessRuntime, runs: Path) -> Iterator[str]:
    """A component of an earlier stack of this instance; the stack that runs is not taken for one."""
    with idle(**{state.INSTANCE_VARIABLE: "another", state.FOLDER_VARIABLE: str(stack.folder)}) as process:
        yield f"what is left of a stack that nobody knows any more still runs (process {process.pid})"
        assert process.wait(timeout=5) == -signal.SIGTERM


def stale(stack: ProcessRuntime, runs: Path) -> Iterator[str]:
    """A lock whose holder was killed."""
    (stack.folder / doctor.LOCK).write_text("a run of some drill (pid 4194304)")
    yield "the lock names a run of some drill (pid 4194304), which is gone"
    assert not (stack.folder / doctor.LOCK).read_text()


MESSES: dict[str, Mess] = {
    "toxic": toxic, "proxy": proxy, "paused": paused, "component": component, "journal": journal, "lock": stale,
    "defect": switch,
    "server": server,
}  # fmt: skip
PROCESSES: dict[str, Mess] = {"load": orphan, "stray": stray}


def test_every_leftover_is_found_repaired_and_gone(sim_stack: ProcessRuntime, runs: Path) -> None:
    """Each sort of mess is named, none is touched without --fix, all are gone with it; the exit codes say so."""
    doctored(sim_stack, fix=True)  # what a test that was killed has left
    assert doctored(sim_stack) == (0, {"leftovers": [], "repaired": [], "busy": {}})
    messes = [mess(sim_stack, runs) for mess in (*MESSES.values(), *PROCESSES.values())]
    expected = [next(mess) for mess in messes]
    for _ in range(2):  # looking changes nothing
        code, data = doctored(sim_stack)
        said = [leftover["what"] for leftover in data["leftovers"]]
        assert code == 1
        assert [words for words in expected if not any(words in what for what in said)] == []
        assert {*MESSES, "orphan"} == {leftover["kind"] for leftover in data["leftovers"]}
    code, data = doctored(sim_stack, fix=True)
    assert (code, data["leftovers"]) == (0, [])
    assert sorted(leftover["what"] for leftover in data["repaired"]) == sorted(said)
    for mess in messes:
        assert list(mess) == []  # its second half: the thing itself is as it was
    assert doctored(sim_stack) == (0, {"leftovers": [], "repaired": [], "busy": {}})
    sim_stack.up(print)


def test_a_stack_in_use_is_not_touched(sim_stack: ProcessRuntime, runs: Path) -> None:
    """While somebody holds the lock, what a run injects is no leftover, whatever --fix says."""
    toxiproxy(sim_stack).add("gateway-a-to-replica-1", LATE)
    with lock.held(sim_stack.folder / doctor.LOCK, "a run of some drill", pytest.fail):
        for fix in (False, True):
            code, data = doctored(sim_stack, fix=fix)
            assert code == 0
            assert "a run of some drill" in data["busy"][str(sim_stack.topology.instance)]
    assert [t.name for t in toxiproxy(sim_stack).toxics("gateway-a-to-replica-1")] == ["late"]
    assert doctored(sim_stack, fix=True)[0] == 0
