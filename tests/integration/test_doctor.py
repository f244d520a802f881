"""The doctor on a real stack: leftovers made by hand are found by name, repaired, and gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from harness.adapters.gateway import Server
from harness.adapters.gateways.haproxy import Haproxy
from harness.adapters.simulator import Simulator
from harness.adapters.toxiproxy import Toxic, Toxiproxy
from harness.cli import doctor as command
from harness.evidence.record import RunFolder
from harness.model.errors import AdapterError
from harness.model.journal import Journal, Undo
from harness.recover import doctor, lock
from stack import state
from stack.runtimes import family
from stack.runtimes.process import ProcessRuntime
from stack.stacks.vllm_haproxy import STACK
from stack.tools.tool import find

NOTHING: dict[str, Any] = {"leftovers": [], "repaired": [], "busy": {}, "foreign": []}
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


def dead_run(runs: Path, stack: ProcessRuntime, name: str = "dead", identity: str = "") -> RunFolder:
    """The folder of a run on that stack whose harness is no more; by default on this checkout's."""
    run = RunFolder.create(runs, name)
    anchor = {"mono_s": 0.0, "wall": "2026-01-01T00:00:00+00:00"}
    of = {"instance": stack.topology.instance, "instance_id": identity or state.identity(stack.folder)}
    plan = {"schema": 2, "run_id": name, "drill": "timeout-spike", "scenario": {}, "anchor": anchor}
    run.write_json("plan.json", {**plan, **of})
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


def unknown(stack: ProcessRuntime, runs: Path) -> Iterator[str]:
    """A proxy with a toxic on it that is no link."""
    body = {"name": "a stranger", "listen": f"{stack.topology.host(0)}:1999", "upstream": "127.0.0.1:9"}
    toxiproxy(stack)._call("post", "/proxies", json={**body, "enabled": True})
    toxiproxy(stack).add("a stranger", LATE)
    yield "toxiproxy has a proxy 'a stranger' with 1 toxic"
    assert "a stranger" not in toxiproxy(stack).proxies()


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
    (stack.folder / lock.RUN).write_text("a run of some drill (pid 4194304)")
    yield "the lock names a run of some drill (pid 4194304), which is gone"
    assert not (stack.folder / lock.RUN).read_text()


MESSES: dict[str, Mess] = {
    "toxic": toxic, "proxy": proxy, "paused": paused, "component": component, "journal": journal, "lock": stale,
    "defect": switch,
    "server": server,
}  # fmt: skip
#: Of a kind that there is above.
MORE: dict[str, Mess] = {"load": orphan, "stray": stray, "unknown": unknown}


def test_every_leftover_is_found_repaired_and_gone(sim_stack: ProcessRuntime, runs: Path) -> None:
    """Each sort of mess is named, none is touched without --fix, all are gone with it; the exit codes say so."""
    doctored(sim_stack, fix=True)  # what a test that was killed has left
    assert doctored(sim_stack) == (0, NOTHING)
    messes = [mess(sim_stack, runs) for mess in (*MESSES.values(), *MORE.values())]
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
    assert doctored(sim_stack) == (0, NOTHING)
    sim_stack.up(print)


def test_a_stack_in_use_is_not_touched(sim_stack: ProcessRuntime, runs: Path) -> None:
    """While somebody holds the lock, what a run injects is no leftover, whatever --fix says."""
    toxiproxy(sim_stack).add("gateway-a-to-replica-1", LATE)
    with lock.held(sim_stack.folder / lock.RUN, "a run of some drill", pytest.fail):
        for fix in (False, True):
            code, data = doctored(sim_stack, fix=fix)
            assert code == 0
            assert "a run of some drill" in data["busy"][str(sim_stack.topology.instance)]
    assert [t.name for t in toxiproxy(sim_stack).toxics("gateway-a-to-replica-1")] == ["late"]
    assert doctored(sim_stack, fix=True)[0] == 0


def gateway_pids(stack: ProcessRuntime) -> dict[str, int | None]:
    """Of the gateways that run, by name."""
    return {one.name: one.pid for one in stack.states() if one.name in STACK.of("gateway")}


def test_after_the_checkout_was_moved_its_gateways_are_as_well(
    sim_stack: ProcessRuntime, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their sockets lie where they were recorded to lie, not where this path would put them: nobody is restarted."""
    monkeypatch.setattr(state, "CHECKOUT", Path("/somewhere/else"))
    before = gateway_pids(sim_stack)
    assert not state.admin_socket(state.socket_folder(sim_stack.topology), "gateway-a").exists()
    for fix in (False, True):
        assert doctored(sim_stack, fix=fix) == (0, NOTHING)
    assert gateway_pids(sim_stack) == before
    drained = server(sim_stack, runs)
    assert next(drained) in str(doctored(sim_stack, fix=True)[1]["repaired"])
    assert list(drained) == []  # as it was


def test_a_wall_clock_that_is_set_is_no_reboot(sim_stack: ProcessRuntime, runs: Path) -> None:
    """What tells the supervisor is no time of day: three seconds or a year later it is the same process."""
    real = psutil.Process.create_time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psutil.Process, "create_time", lambda process: real(process) + 3)
        patch.setattr(time, "time", lambda: 0.0)
        assert doctored(sim_stack, fix=True) == (0, NOTHING)
    assert sim_stack.up(print)


class Recorder:
    """Listens at an address of somebody else, and counts who connects."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.setblocking(False)
        self.address = f"127.0.0.1:{self.server.getsockname()[1]}"

    def connections(self) -> int:
        """So far; the kernel has taken them, whether anybody accepts or not."""
        found = 0
        with suppress(BlockingIOError):
            while True:
                self.server.accept()[0].close()
                found += 1
        return found


def strange_records(other: str, theirs: str, gateway: str) -> list[Undo]:
    """What a stranger's journal could ask for: at other addresses, of other programs, of gateways by command."""
    proxy = {"proxy": theirs, "listen": other, "upstream": other}
    server = {"gateway": gateway, "replica": "replica-1 state maint; shutdown sessions server replicas/replica-1"}
    return [
        Undo("a", "renew_proxy", proxy),
        Undo("b", "remove_toxics", {**proxy, "proxy": "client-to-gateway-a", "toxics": ["late"]}),
        Undo("c", "unpause", {"component": "of-others"}),
        Undo("d", "restore_server", {**server, "state": "ready", "weight": 100}),
    ]


@contextmanager
def foreign_toxiproxy(tmp_path: Path) -> Iterator[Toxiproxy]:
    """Somebody else's toxiproxy, with a toxic on its proxy."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    tool = find("toxiproxy-server")
    assert tool is not None
    line = [str(tool.path), "-host", "127.0.0.1", "-port", str(port)]
    with (tmp_path / "toxiproxy.log").open("wb") as log, subprocess.Popen(line, stdout=log, stderr=log) as process:
        found, deadline = Toxiproxy("127.0.0.1", port), time.monotonic() + 10
        try:
            while True:
                with suppress(AdapterError):
                    found.proxies()
                    break
                assert time.monotonic() < deadline
            body = {"name": "client-to-gateway-a", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "enabled": True}
            found._call("post", "/proxies", json=body)
            found.add("client-to-gateway-a", LATE)
            yield found
        finally:
            process.kill()


@pytest.mark.parametrize("whose", ["another checkout's", "ours by id, with strange records"])
def test_what_is_not_ours_is_listed_and_never_touched(
    sim_stack: ProcessRuntime, runs: Path, tmp_path_factory: pytest.TempPathFactory, whose: str
) -> None:
    """Runs, proxies and processes of others stand beside: no byte of them changes and nobody connects to them.

    Neither when the doctor looks, nor when it repairs, nor when a run begins. What is ours is repaired all the same.
    """
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    ours = whose.startswith("ours")
    recorder = Recorder()
    for number, undo in enumerate(strange_records(recorder.address, "their-link", "gateway-a")):
        run = dead_run(runs, sim_stack, f"foreign-{number}", "" if ours else "an id of theirs")
        Journal(run.path / "undo.jsonl").will_need(undo)
    before = contents(runs)
    environment = {state.INSTANCE_VARIABLE: "theirs", state.FOLDER_VARIABLE: str(elsewhere / ".state" / "0")}
    pids = gateway_pids(sim_stack)
    with (
        recorder.server,
        foreign_toxiproxy(elsewhere) as toxics,
        idle("-m", "harness.load", str(elsewhere / "runs" / "x"), **environment) as load,
        idle("-m", "harness.recover.watchdog", str(elsewhere / "runs" / "x"), "3") as watchdog,
        idle("harness.load", str(runs / "foreign-0")) as reader,
    ):
        watchdog.send_signal(signal.SIGSTOP)
        for how in ("look", "fix", "run"):
            toxiproxy(sim_stack).add("gateway-a-to-replica-1", LATE)
            listed, code = meet(sim_stack, runs, how)
            assert [f"foreign-{n}" for n in range(4) if f"run foreign-{n} has" in listed] == [
                f"foreign-{n}" for n in range(4) if how != "run" or ours
            ]
            assert code == (1 if ours or how == "look" else 0)
            if how == "look":
                toxiproxy(sim_stack).remove("gateway-a-to-replica-1", "late")
            assert toxiproxy(sim_stack).toxics("gateway-a-to-replica-1") == []
            assert recorder.connections() == 0
            assert [toxic.name for toxic in toxics.toxics("client-to-gateway-a")] == ["late"]
            assert [one.poll() for one in (load, watchdog, reader)] == [None] * 3
            assert family.is_stopped(watchdog.pid)
            assert contents(runs, but="asking") == before
    assert gateway_pids(sim_stack) == pids
    assert Haproxy(sim_stack, "gateway-a").servers()["replica-1"] == Server("ready", 100)


def meet(stack: ProcessRuntime, runs: Path, how: str) -> tuple[str, int]:
    """What the doctor, or a run that begins, says; and 1 where that is that something is left."""
    if how != "run":
        code, data = doctored(stack, fix=how == "fix")
        return json.dumps(data), code
    said = list[str]()
    doctor.repair_for(dead_run(runs, stack, "asking"), said.append)
    return " ".join(said), int(any("NOT repaired" in line for line in said))


def contents(runs: Path, but: str = "") -> dict[Path, bytes]:
    """Every file below, whole; but for one run."""
    files = [path for path in runs.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path: path.read_bytes() for path in files if not but or but not in path.parts}
