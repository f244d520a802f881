"""Who is silent for a lease has lost it; a stall of our own is not held against the other one."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.evidence.record import EventLog, RunFolder
from harness.model.errors import FaultError
from harness.model.journal import Journal, Undo
from harness.model.lease import BEAT_S, LEASE_S, Channel, Lease, PipeHeart, PipeLease
from harness.recover.watchdog import Charge, How, Watchdog, _close_what_went_with_the_stack

ONE = {"id": "broken/latency/a", "action": "remove_toxics", "args": {"proxy": "a"}}


@dataclass
class Clock:
    """Monotonic seconds, as a test moves them."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def passes(lease: Lease, clock: Clock, seconds: float, step_s: float = 0.5) -> bool:
    """Whether it has lapsed after so long of regular looks."""
    for _ in range(round(seconds / step_s)):
        clock.now_s += step_s
        lapsed = lease.lapsed
    return lapsed


def test_silence_lets_a_lease_lapse_and_a_sign_renews_it() -> None:
    """Not before its time, and from the last sign on."""
    clock = Clock()
    lease = Lease(clock=clock)
    assert not passes(lease, clock, LEASE_S - 1)
    lease.renew()
    assert not passes(lease, clock, LEASE_S - 1)
    assert passes(lease, clock, 2)


def test_the_first_sign_may_take_longer() -> None:
    """A process has to start; after its first sign it has no longer than the others."""
    clock = Clock()
    lease = Lease(60.0, clock)
    assert not passes(lease, clock, 59)
    lease.renew()
    assert passes(lease, clock, LEASE_S + 1)


def test_a_stall_of_the_machine_is_no_lapse() -> None:
    """Who was stopped for an hour themselves has not looked for an hour: only what comes after that counts."""
    clock = Clock()
    lease = Lease(clock=clock)
    clock.now_s += 3600
    assert not lease.lapsed
    assert passes(lease, clock, LEASE_S)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Its reading and its writing end; whoever uses them closes the writing end."""
    reads, writes = os.pipe()
    yield reads, writes
    os.close(reads)


def test_bytes_in_a_pipe_are_signs_of_life(pipe: tuple[int, int]) -> None:
    """However many have piled up; silence and the end of the pipe are not."""
    clock = Clock()
    lease = PipeLease(pipe[0], clock)
    assert not passes(lease, clock, LEASE_S - 1)
    os.write(pipe[1], b"...")
    assert not passes(lease, clock, LEASE_S - 1)
    assert passes(lease, clock, 2)
    os.write(pipe[1], b".")
    assert not lease.lapsed
    os.close(pipe[1])
    assert lease.lapsed


def test_a_heart_beats_by_itself_until_it_is_stopped(pipe: tuple[int, int]) -> None:
    """At once, then every second; stopping it closes the pipe, and may be repeated."""
    heart = PipeHeart(pipe[1])
    os.set_blocking(pipe[0], True)
    assert [os.read(pipe[0], 1) for _ in range(2)] == [b".", b"."]
    for _ in range(2):
        heart.stop()
    while rest := os.read(pipe[0], 100):
        assert set(rest) == {ord(".")}


@dataclass
class Harness:
    """The far end of a watchdog's channel, and the watchdog's view of it."""

    charge: Charge
    channel: Channel
    clock: Clock

    def say(self, number: int, until_s: float, **data: Any) -> None:
        """As ``Watchdog`` sends it."""
        self.channel.send({"number": number, "until_s": until_s, **data})

    def watched(self) -> How | None:
        """What the watchdog finds within the time that its clock stands still; None: nothing to do."""
        found: list[How] = []
        watching = threading.Thread(target=lambda: found.append(self.charge.watch()), daemon=True)
        watching.start()
        watching.join(0.3)
        return found[0] if found else None


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    """Silence lasts a second on the clock whenever nothing comes for a hundredth."""
    ours, theirs = socket.socketpair()
    clock = Clock()
    channel, far = Channel(ours), Channel(theirs)
    ours.settimeout(0.01)
    receive = channel.receive

    def ticking() -> dict[str, Any] | None:
        message = receive()
        clock.now_s += BEAT_S if message is None and clock.now_s < limit[0] else 0.0
        return message

    limit = [clock.now_s + 60]
    monkeypatch.setattr(channel, "receive", ticking)
    with closing(channel), closing(far):
        yield Harness(Charge(tmp_path, channel, clock), far, clock)


@pytest.mark.parametrize(("lives", "left"), [(False, []), (True, [ONE["id"]])])
def test_what_went_with_the_stack_is_healed(
    lives: bool, left: list[str], harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor died with the harness, and the rest has been ended; without a state file a stack may still run."""
    harness.charge.journal.will_need(Undo(ONE["id"], ONE["action"], ONE["args"]))
    gone = SimpleNamespace(stack=None, lives=lives)
    monkeypatch.setattr("harness.recover.watchdog.doctor.site", lambda folder: gone)
    log = EventLog(RunFolder(tmp_path), 0.0)
    _close_what_went_with_the_stack(harness.charge, log)
    log.close()
    assert [undo.id for undo in harness.charge.journal.open_entries()] == left
    healed = [e.data["fault"] for e in RunFolder(tmp_path).events() if e.kind == "fault_healed"]
    assert healed == ([] if lives else [ONE["id"]])


def test_a_stopped_harness_is_stood_in_for_after_the_end_of_its_phase(harness: Harness) -> None:
    """Not while the phase may last, and a lease longer; then it is told so, whatever it says."""
    until_s = harness.clock.now_s + 20
    harness.say(1, until_s, plan={"drill": "x"}, open=[])
    harness.say(2, until_s, line=ONE)
    assert harness.watched() is How.STOPPED
    assert harness.clock.now_s > until_s + LEASE_S
    answers = [harness.channel.receive() for _ in range(3)]
    assert answers == [{"heard": 1}, {"heard": 2}, {"taken": How.STOPPED.value}]
    assert [undo.id for undo in harness.charge.journal.open_entries()] == [ONE["id"]]


def test_a_phase_in_progress_is_waited_for(harness: Harness) -> None:
    """The lease has lapsed for long, and the phase has not ended: nobody knows better than its plan."""
    harness.say(1, harness.clock.now_s + 3600, line=ONE)
    assert harness.watched() is None


@pytest.mark.parametrize("lines", [(), (ONE, {"done": ONE["id"]})], ids=["nothing", "rolled back"])
def test_where_nothing_is_injected_nobody_is_stood_in_for(lines: tuple[dict[str, Any], ...], harness: Harness) -> None:
    """A harness that is stopped while it judges goes on where it was."""
    for number, line in enumerate(lines):
        harness.say(number, 0.0, line=line)
    assert harness.watched() is None


def test_an_end_without_a_word_is_a_death(harness: Harness) -> None:
    """And one with a word is none."""
    harness.say(1, 0.0, line=ONE)
    harness.channel.close()
    assert harness.watched() is How.DIED


def test_the_word_is_the_end(harness: Harness) -> None:
    """The run has ended, whatever is still injected: that is looked at next."""
    harness.say(1, 0.0, ended=True)
    assert harness.watched() is How.ENDED


class _Process:
    """Stands for the process of a watchdog; its end of the socket is a test's."""

    def __init__(self, command: list[str], stdin: int, **_: Any) -> None:
        self.channel = Channel(socket.socket(fileno=os.dup(stdin)))
        self.killed = False
        STARTED.append(self)

    def poll(self) -> int | None:
        """It runs until it is killed."""
        return -9 if self.killed else None

    def kill(self) -> None:
        """It hears nothing more."""
        self.killed = True
        self.channel.close()

    def wait(self, timeout: float | None = None) -> int:
        """It has ended."""
        return 0


STARTED: list[_Process] = []


@pytest.fixture
def watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watchdog]:
    """The harness' side, with processes that only a test answers for."""
    STARTED.clear()
    monkeypatch.setattr("harness.recover.watchdog.subprocess.Popen", _Process)
    (tmp_path / "logs").mkdir()
    plan = {"schema": 2, "run_id": "x", "drill": "x", "scenario": {}, "anchor": {}, "instance": 1, "topology": {}}
    folder = RunFolder(tmp_path)
    folder.write_json("plan.json", plan)
    with Watchdog(folder, 0) as found:
        yield found


def _told(watchdog: Watchdog, line: dict[str, Any]) -> tuple[threading.Thread, list[FaultError]]:
    """``tell`` under way in a thread of its own; what it raises."""
    raised: list[FaultError] = []

    def tell() -> None:
        try:
            watchdog.tell(line)
        except FaultError as error:
            raised.append(error)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    return thread, raised


def _heard(process: _Process, wanted: str) -> dict[str, Any]:
    """The first message with that key."""
    for _ in range(20):
        message = process.channel.receive()
        if message is not None and wanted in message:
            return message
    raise AssertionError(f"no {wanted}")


def test_nothing_is_injected_before_the_watchdog_knows(watchdog: Watchdog) -> None:
    """A record is told when it is acknowledged, not when it was sent."""
    telling, raised = _told(watchdog, ONE)
    message = _heard(STARTED[0], "line")
    assert message["line"] == ONE
    telling.join(0.2)
    assert telling.is_alive()
    STARTED[0].channel.send({"heard": message["number"]})
    telling.join(10)
    assert not telling.is_alive()
    assert raised == []


def test_another_watchdog_hears_what_the_first_one_knew(watchdog: Watchdog) -> None:
    """A silent one is ended; who waits for its word gets that of the next; what was rolled back is not told again."""
    telling, raised = _told(watchdog, ONE)
    _heard(STARTED[0], "line")
    watchdog.start()
    assert STARTED[0].killed
    start = _heard(STARTED[1], "plan")
    assert start["open"] == [ONE]
    assert start["plan"]["drill"] == "x"
    STARTED[1].channel.send({"heard": start["number"]})
    telling.join(10)
    assert not telling.is_alive()
    assert raised == []
    watchdog.tell({"done": ONE["id"]})
    watchdog.start()
    assert _heard(STARTED[2], "plan")["open"] == []


def test_who_was_stood_in_for_injects_nothing_more(watchdog: Watchdog) -> None:
    """The harness was stopped, and goes on: its next injection is refused with the cause."""
    telling, raised = _told(watchdog, ONE)
    _heard(STARTED[0], "line")
    STARTED[0].channel.send({"taken": How.STOPPED.value})
    telling.join(10)
    assert "was stopped" in str(raised[0])
    assert watchdog.taken == How.STOPPED.value


def test_a_watchdog_that_is_silent_is_not_alive(watchdog: Watchdog) -> None:
    """It runs, as far as the kernel knows."""
    assert watchdog.alive
    clock = Clock()
    watchdog._lease = Lease(clock=clock)
    clock.now_s += 1
    assert watchdog.alive
    for _ in range(8):
        clock.now_s += 1
        alive = watchdog.alive
    assert not alive


def test_the_planned_end_is_told_at_once(watchdog: Watchdog) -> None:
    """Whoever is stopped right after the begin of a phase is given its whole length."""
    watchdog.expect(1234.5)
    for _ in range(20):
        if (message := STARTED[0].channel.receive()) and message["until_s"] == 1234.5:
            return
    raise AssertionError("it was not told")


def test_a_journal_in_memory_outlives_its_file(tmp_path: Path) -> None:
    """Deleted or moved in mid-fault: what is open stays open until it is rolled back, and nothing more is injected."""
    told: list[object] = []
    journal = Journal(tmp_path / "undo.jsonl", told.append)
    one, two = Undo("one", "remove_toxics", {"proxy": "a"}, "broken"), Undo("two", "remove_toxics", {"proxy": "b"})
    journal.will_need(one)
    (tmp_path / "undo.jsonl").rename(tmp_path / "moved.jsonl")
    assert journal.open_entries() == [one]
    with pytest.raises(FaultError, match="nothing is injected"):
        journal.will_need(two)
    assert journal.replay(lambda undo: None) == []
    assert journal.open_entries() == []
    assert told == [
        {"id": "one", "action": "remove_toxics", "args": {"proxy": "a"}, "phase": "broken"},
        {"done": "one"},
    ]
    assert Journal(tmp_path / "moved.jsonl").open_entries() == [], "the mark is in the file, wherever that is"
