"""The doctor and the lock, without a stack: who is spared, what a reboot leaves, what cannot be asked."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.adapters.desk import ACCESS_FILE, LINKS_FILE
from harness.evidence import records_kept
from harness.evidence.record import EventLog, RunFolder
from harness.model.errors import AdapterError, UsageError
from harness.model.journal import Journal, Undo
from harness.model.topology import Topology
from harness.recover import doctor, lock
from harness.recover.leftovers import desks, journals, links, orphans, stopped
from harness.recover.leftovers.base import Leftover, Processes, Site
from stack import config, state
from stack.runtimes import family
from stack.runtimes.base import ComponentState
from stack.stacks.vllm_haproxy import STACK
from tests import runs as stored
from tests.integration.simulated_stack import free_topology

#: In containers toxiproxy says otherwise where it listens than it was told.
TOPOLOGY = Topology(STACK, instance=0, engine="sim", runtime="docker")
IDENTITY = "of-this-checkout"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a state and runs of its own."""
    monkeypatch.setattr(state, "STATE_ROOT", tmp_path / ".state")
    monkeypatch.setattr(doctor, "RUNS", tmp_path / "runs")
    (tmp_path / ".state" / "0").mkdir(parents=True)
    (tmp_path / ".state" / "0" / "instance_id").write_text(IDENTITY)
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
    assert lock.holders(path) == []
    path.write_text("a run of y (pid 1)")
    with lock.held(path, "a run of z", said.append):
        pass
    assert said == ["the lock of this stack is taken over from a run of y (pid 1), which is gone"]


def test_a_child_that_inherits_the_lock_keeps_it(tmp_path: Path) -> None:
    """The watchdog goes on holding what the harness held, under its own name."""
    path = tmp_path / "run.lock"
    imports = "import sys; from harness.recover import lock;"
    code = f"{imports} lock.rename(int(sys.argv[1]), 'the watchdog'); print(''); input()"
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


@pytest.mark.parametrize("other", [{"boot_id": "of an earlier boot"}, {"start_ticks": 1}], ids=["reboot", "pid reused"])
def test_after_a_reboot_the_state_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    """Nothing runs, and the supervisor's pid belongs to somebody else by now, who is not touched."""
    monkeypatch.setattr(doctor, "RUNS", tmp_path)
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with free_topology() as topology, stranger:
        folder = state.instance_folder(topology)
        folder.mkdir(parents=True, exist_ok=True)
        mark = replace(family.mark(stranger.pid), **other)
        stack = state.StackState("process", "none", topology.as_data(), "x", supervisor=mark)
        state.save(folder, replace(stack, sockets=str(tmp_path / "gone")))
        found = doctor.examine(topology.instance)
        assert "no supervisor" in {leftover.kind: leftover.what for leftover in found.left}["stack"]
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
    run.plan |= {"instance": 0, "instance_id": IDENTITY}
    folder = run.write(checkout / "runs" / "unjudged")
    assert kinds(doctor.examine(0)) == ["run"]
    assert kinds(doctor.repair(0)) == []
    assert folder.read_json("verdict.json")["status"] == "INCONCLUSIVE"
    assert "the doctor judges" in folder.read_json("verdict.json")["reason"]
    assert (folder.path / "report.html").exists()


class FakeToxiproxy:
    """Answers with these proxies, or not at all."""

    def __init__(self, proxies: list[dict[str, Any]] | None) -> None:
        self._proxies, self.dropped, self.hangs, self.deaf = proxies, list[str](), False, False

    def drop(self, name: str) -> None:
        """As the adapter."""
        if self.hangs:
            raise AdapterError("no answer within 1 s")
        self.dropped.append(name)
        self._proxies = [one for one in self._proxies or [] if one["name"] != name or self.deaf]

    def proxies(self) -> dict[str, dict[str, Any]]:
        """As the adapter."""
        if self._proxies is None:
            raise AdapterError("no answer within 1 s")
        return {proxy["name"]: proxy for proxy in self._proxies}


def site(proxies: list[dict[str, Any]] | None, killed: list[str]) -> Site:
    """An instance whose toxiproxy runs."""
    found = Site(0, Path(), Path(), Processes({}, {}))
    context = SimpleNamespace(
        topology=TOPOLOGY, toxiproxy=FakeToxiproxy(proxies), runtime=SimpleNamespace(kill=killed.append)
    )
    found.__dict__["context"] = context
    found.__dict__["states"] = {"toxiproxy": ComponentState("toxiproxy", "running", 1, 1.0, 0)}
    return found


def test_links_of_a_killed_game_are_removed(tmp_path: Path) -> None:
    """What a game has left in the instance folder; nothing else there."""
    files = [tmp_path / name for name in (ACCESS_FILE, LINKS_FILE, "keys.json")]
    for path in files:
        path.write_text("{}")
    found = list(desks.find(Site(0, tmp_path, tmp_path, Processes({}, {}))))
    assert [one.what.split()[0] for one in found] == [ACCESS_FILE, LINKS_FILE]
    for one in found:
        one.repair()
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]
    assert list(desks.find(Site(0, tmp_path, tmp_path, Processes({}, {})))) == []


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
    missing, astray, open_to_all, *rest = healthy_proxies()
    astray["upstream"] = "127.0.0.1:1"
    open_to_all["listen"] = "[::]:1"
    found = list(links.find(site([astray, open_to_all, *rest], [])))
    assert [leftover.kind for leftover in found] == ["proxy", "proxy", "proxy"]
    assert missing["name"] in found[0].what
    assert "127.0.0.1:1" in found[1].what


def test_a_proxy_that_is_no_link_is_left_over() -> None:
    """With its toxics it is named, and dropped; where that hangs toxiproxy is restarted."""
    stranger = {"name": "a/b", "listen": "127.0.0.1:1", "upstream": "127.0.0.1:2", "enabled": True, "toxics": [{}]}
    killed: list[str] = []
    asked, deaf = (site([stranger, *healthy_proxies()], killed) for _ in range(2))
    [found] = links.find(asked)
    assert (found.kind, "'a/b' with 1 toxic" in found.what) == ("proxy", True)
    found.repair()
    assert (asked.context.toxiproxy.dropped, killed) == (["a/b"], [])  # type: ignore[union-attr]
    asked.context.toxiproxy.hangs = True  # type: ignore[union-attr]
    found.repair()
    assert killed == ["toxiproxy"]
    deaf.context.toxiproxy.deaf = True  # type: ignore[union-attr]
    [found] = links.find(deaf)
    found.repair()
    assert killed == ["toxiproxy"] * 2


def test_a_process_is_the_same_whatever_the_wall_clock_says() -> None:
    """Boot and start tell a process, and no time of day is asked for; another start or boot is another process."""
    known = family.mark(os.getpid())
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    assert known == state.ProcessMark(os.getpid(), family._BOOT_ID.read_text().strip(), ticks)
    assert family.marked(known) is not None
    assert family.marked(replace(known, start_ticks=known.start_ticks + 1)) is None
    assert family.marked(replace(known, boot_id="another")) is None


def test_a_lock_without_a_name_is_held(checkout: Path) -> None:
    """Its holder is asked of the kernel, and the instance is left alone; free, it is nothing."""
    for name in ("run.lock", "lock"):
        path = checkout / ".state" / "0" / name
        with path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert lock.holders(path) == [os.getpid()]
            for found in (doctor.examine(0), doctor.repair(0)):
                assert (found.left, lock.NAMELESS in found.busy[0]) == ([], True)
        assert doctor.examine(0) == doctor.Findings()


@contextmanager
def holding(path: Path, *line: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with that end of its command line, which holds the lock."""
    code = "import fcntl, sys, signal; f = open(sys.argv[1], 'a+'); fcntl.flock(f, 2); print(''); signal.pause()"
    words = [sys.executable, "-u", "-c", code, str(path), *line]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def stopped_by_signal(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """While active it is in state T."""
    process.send_signal(signal.SIGSTOP)
    while not family.is_stopped(process.pid):
        os.sched_yield()
    yield


def test_a_stopped_holder_is_named_and_ended(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --fix, once it has been stopped for longer than a lease; one that goes on, or works, is left alone."""
    path = checkout / ".state" / "0" / "run.lock"
    with holding(path, "-m", "harness", "run", "x") as process:
        path.write_text(f"a run of x (pid {process.pid})")
        assert doctor.examine(0).left == []
        with stopped_by_signal(process):
            [found] = doctor.examine(0).left
            assert f"a run of x (pid {process.pid})) is stopped (pid {process.pid}, state T)" in found.what
            assert f"`kill -CONT {process.pid}` or `doctor --fix`" in found.what
            with pytest.raises(UsageError, match=f"process {process.pid} is stopped"), lock.held(path, "y", print):
                pytest.fail("two holders")
            process.send_signal(signal.SIGCONT)
            [left] = repaired_with(found).left
            assert "goes on again" in left.remedy
            assert process.poll() is None
        monkeypatch.setattr(stopped, "LEASE_S", 0.3)
        with stopped_by_signal(process):
            fixed = doctor.repair(0)
            assert ([one.kind for one in fixed.repaired], fixed.left, fixed.busy) == (["stopped"], [], {})
            assert process.wait(5) == -signal.SIGKILL
    assert doctor.examine(0) == doctor.Findings()


def test_a_holder_that_has_outlived_its_name_is_named_itself(checkout: Path) -> None:
    """The watchdog of a killed harness holds the lock, which still names the harness; one that is named is named so."""
    path = checkout / ".state" / "0" / "run.lock"
    with holding(path, "-m", "harness.recover.watchdog", "/somewhere/runs/x") as process:
        path.write_text("a run of y (pid 4194304)")
        who = f"process {process.pid} (harness.recover.watchdog x), which has outlived a run of y (pid 4194304)"
        assert doctor.examine(0).busy == {0: who}
        with pytest.raises(UsageError, match=r"harness\.recover\.watchdog x.*outlived"), lock.held(path, "z", print):
            pytest.fail("two holders")
        with stopped_by_signal(process):
            assert doctor.examine(0).busy == {0: who}
        process.send_signal(signal.SIGCONT)
        path.write_text(f"the watchdog of run x (pid {process.pid})")
        assert doctor.examine(0).busy == {0: f"the watchdog of run x (pid {process.pid})"}


def test_a_stack_whose_state_is_gone_is_told_and_not_ended(checkout: Path) -> None:
    """It may be a healthy one whose checkout was renamed. One of an earlier stack beside a known one is ended."""
    folder = checkout / ".state" / "7"
    environment = {**os.environ, state.FOLDER_VARIABLE: str(folder), state.INSTANCE_VARIABLE: "healthy"}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as process:
        for there in (False, True):
            if there:
                folder.mkdir(parents=True)
            assert doctor.instances() == [0, 7]
            for found in (doctor.examine(7), doctor.repair(7)):
                [left] = found.left
                assert f"a stack without a state file runs (processes {process.pid})" in left.what
                assert f"kill {process.pid}" in left.remedy
            assert folder.exists() == there
        run = run_folder(checkout / "runs", "asking", instance=7, instance_id="healthy")
        doctor.repair_for(run, lambda text: None)
        assert process.poll() is None
        process.communicate(b"\n", timeout=10)


def test_the_journal_of_a_stack_that_lives_is_not_closed(checkout: Path) -> None:
    """Only its state file is gone: what was injected is still there, and nobody says that it went with the stack."""
    folder = checkout / ".state" / "0"
    environment = {**os.environ, state.FOLDER_VARIABLE: str(folder)}
    run = run_folder(checkout / "runs", "mine", instance=0, instance_id=IDENTITY)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as process:
        found = doctor.repair(0)
        assert [one.kind for one in found.left if "open undo records" in one.what] == ["journal"]
        assert journals.journal(run).open_entries() != []
        process.communicate(b"\n", timeout=10)
    assert kinds(doctor.repair(0)) == ["run"]  # of a drill that there is not
    assert journals.journal(run).open_entries() == []


def test_a_defect_in_one_search_ends_no_other(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, and what the others find is found."""

    def broken(_: Site) -> Iterator[Leftover]:
        raise ZeroDivisionError("by zero")
        yield

    run_folder(checkout / "runs", "mine", instance=0, instance_id=IDENTITY)
    monkeypatch.setattr(doctor, "SORTS", (broken, *doctor.SORTS))
    found = doctor.examine(0)
    assert kinds(found)[:2] == ["unknown", "journal"]
    assert "ZeroDivisionError: by zero" in found.left[0].what


def test_a_process_with_a_number_used_again_is_not_ended() -> None:
    """An orphan has gone, and its pid is somebody else's now."""
    ended = SimpleNamespace(pid=os.getpid(), is_running=lambda: False)
    orphans._end([ended])  # type: ignore[list-item]


def repaired_with(found: Leftover) -> doctor.Findings:
    """What a repair says that has found only this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "examine", lambda instance: doctor.Findings([found]))
        return doctor.repair(0)


def test_a_stopped_stranger_that_holds_our_lock_is_listed_only(checkout: Path) -> None:
    """Anybody may lock a file; who is no process of Drillyard is not ended."""
    with holding(checkout / ".state" / "0" / "run.lock", "harness") as process, stopped_by_signal(process):
        fixed = doctor.repair(0)
        assert [one.remedy for one in fixed.left] == [f"NOT repaired: process {process.pid} is no process of Drillyard"]
        assert process.poll() is None


def run_folder(runs: Path, name: str, **plan: object) -> RunFolder:
    """A run folder with an open undo record and no verdict."""
    run = RunFolder.create(runs, name)
    anchor = {"mono_s": 0.0, "wall": "2026-01-01T00:00:00+00:00"}
    run.write_json("plan.json", {"schema": 2, "run_id": name, "drill": "x", "scenario": {}, "anchor": anchor, **plan})
    Journal(run.path / "undo.jsonl").will_need(Undo("a", "unpause", {"component": "replica-1"}))
    (run.path / "events.jsonl").touch()
    return run


@pytest.mark.parametrize(
    "plan", [{}, {"instance": 0}, {"instance": 0, "instance_id": "x"}, {"instance": 1, "instance_id": IDENTITY}]
)
def test_a_run_of_others_is_listed_and_nothing_in_it_changes(checkout: Path, plan: dict[str, Any]) -> None:
    """Number and id must both be this instance's: else nothing is replayed, closed or judged, and nothing is left."""
    run = run_folder(checkout / "runs", "theirs", **plan)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert doctor.examine(0) == doctor.repair(0) == doctor.Findings()
    [line] = doctor.strangers().foreign
    assert "run theirs has 1 open undo record(s)" in line
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    run_folder(checkout / "runs", "mine", instance=0, instance_id=IDENTITY)
    assert kinds(doctor.examine(0)) == ["journal", "run"]
    assert len(doctor.strangers().foreign) == 1


@pytest.mark.parametrize(("make", "why"), [(Path.mkdir, "Is a directory"), (os.mkfifo, "it is no file")])
def test_a_journal_that_cannot_be_read_is_named_and_ends_nothing(
    make: Callable[[Path], None], why: str, checkout: Path
) -> None:
    """The run of another user, or a pipe, which nobody may wait for."""
    (checkout / "runs" / "theirs").mkdir(parents=True)
    make(checkout / "runs" / "theirs" / "undo.jsonl")
    assert doctor.examine(0) == doctor.Findings()
    [line] = doctor.strangers().foreign
    assert line == f"run theirs: its undo journal cannot be read ({why})"


def test_what_a_repair_writes_is_part_of_the_run(checkout: Path) -> None:
    """The run had said what it left; its events are more now, and known again."""
    run = run_folder(checkout / "runs", "mine", instance=0, instance_id=IDENTITY)
    records_kept.seal(run)
    journals._close(run, log := EventLog.later(run))
    log.close()
    assert records_kept.difference(run) is not None
    journals._take_back(doctor._site(0), run)
    assert records_kept.difference(run) is None


def test_the_run_that_asks_is_spared(checkout: Path) -> None:
    """A run's own open journal is no leftover; that of another run of the instance is."""
    for name in ("mine", "dead"):
        (checkout / "runs" / name).mkdir(parents=True)
        plan = {"schema": 2, "run_id": name, "drill": "x", "scenario": {}, "anchor": {}, "instance": 0}
        plan["instance_id"] = IDENTITY
        RunFolder(checkout / "runs" / name).write_json("plan.json", plan)
    among = [checkout / "runs" / name for name in ("mine", "dead")]
    asking = Site(0, checkout / ".state" / "0", checkout / "runs", Processes({}, {}), asking=RunFolder(among[0]))
    assert [run.path.name for run in asking.dead_runs(among)] == ["dead"]
