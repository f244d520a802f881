"""How a run ends early: what people can mend is an event; what nobody foresaw is a bug, and said to be one."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.adapters.load import Window
from harness.evidence.record import EventLog, RunFolder
from harness.faults.base import Proof, to_the_end
from harness.model.errors import Exhausted, FaultError, RecordError, StackError
from harness.model.journal import Undo
from harness.model.scenario import Phase
from harness.run import session
from harness.run.session import Conductor, _all_ended, _first_known
from stack import state
from stack.stacks.vllm_haproxy import STACK
from tests import runs

RECOVERY = Phase.model_validate({"name": "recovery", "kind": "recovery", "duration": "1s"})


def test_errors_for_people_are_found_inside_task_groups() -> None:
    """A phase runs in a task group, which wraps what its tasks raise."""
    wrapped = ExceptionGroup("tasks", [ExceptionGroup("inner", [StackError("load died")]), FaultError("later")])
    assert str(_first_known(wrapped)) == "load died"


def test_a_bug_beside_an_error_for_people_stays_a_bug() -> None:
    """One unforeseen exception in the group must not be hidden behind an expected one."""
    assert _first_known(ExceptionGroup("tasks", [StackError("load died"), KeyError("x")])) is None
    assert _first_known(KeyError("x")) is None


class _Quiet:
    """Stands for the run's log and progress."""

    failed: RecordError | None = None

    def now_s(self) -> float:
        """The run's clock."""
        return 0.0

    def tick(self, *_: object) -> None:
        """Nobody looks."""

    def say(self, text: str) -> None:
        """Nobody listens."""


def _waiting(load: object = None) -> Conductor:
    run = SimpleNamespace(log=_Quiet(), progress=_Quiet())
    return Conductor(run, asyncio.Event(), load=load)  # type: ignore[arg-type]


def test_the_next_fault_waits_for_heals_that_take_long() -> None:
    """An engine may start for longer than a recovery phase: what is not proven healed yet is waited for."""

    async def drill() -> None:
        conductor, engine_is_ready = _waiting(), asyncio.Event()

        async def proof() -> None:
            await engine_is_ready.wait()

        conductor.heal_proofs = [asyncio.create_task(proof())]
        waiting = asyncio.create_task(conductor._await_heals(RECOVERY))
        await asyncio.wait([waiting], timeout=0.05)
        assert not waiting.done()
        engine_is_ready.set()
        await waiting

    asyncio.run(drill())


def test_waiting_for_a_heal_ends_with_the_load() -> None:
    """Without load nothing can be judged any more; and what a proof died of is not lost."""

    async def drill() -> None:
        conductor = _waiting(load=SimpleNamespace(ended=1, death="the load generator died (status 1)", windows=[]))
        conductor.heal_proofs = [asyncio.create_task(asyncio.Event().wait())]  # type: ignore[list-item]
        with pytest.raises(StackError, match="load generator died"):
            await conductor._await_heals(RECOVERY)
        conductor.heal_proofs[0].cancel()

        async def crash() -> None:
            raise FaultError("no container of replica-1")

        conductor = _waiting()
        conductor.heal_proofs = [asyncio.create_task(crash())]
        with pytest.raises(FaultError, match="no container"):
            await conductor._await_heals(RECOVERY)

    asyncio.run(drill())


def test_events_that_cannot_be_written_end_the_run() -> None:
    """Nothing is held, injected or waited for that nobody could judge."""
    conductor = _waiting()
    conductor.run.log.failed = RecordError("events.jsonl cannot be written: No space left on device")
    with pytest.raises(RecordError, match="No space left"):
        asyncio.run(conductor._hold("baseline", 10.0))


def test_a_full_disk_is_no_bug() -> None:
    """Wherever it is met: it is said in a sentence, as is a descriptor that could not be had; other errors are bugs."""
    assert isinstance(_first_known(OSError(errno.ENOSPC, "full", "waves.json")), RecordError)
    assert isinstance(_first_known(ExceptionGroup("tasks", [OSError(errno.EMFILE, "none")])), Exhausted)
    assert _first_known(OSError(errno.ENOENT, "gone")) is None


@pytest.mark.parametrize("died", ["", "the load generator died (status 74): its records cannot be written"])
def test_the_load_generators_end_is_recorded(died: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its status, what it had told, and the reason where it was not asked to end so."""
    log = EventLog(RunFolder(tmp_path), 0.0)

    async def stop(_: float) -> None:
        pass

    load = SimpleNamespace(stop=stop, ended=74 if died else 0, reported_ended=7, death=died)
    run = SimpleNamespace(log=log, progress=_Quiet())
    conductor = Conductor(run, asyncio.Event(), load=load)  # type: ignore[arg-type]
    monkeypatch.setattr(conductor, "_await_readings", _nothing)
    asyncio.run(conductor._stop_load())
    log.close()
    (told,) = RunFolder(tmp_path).events()
    assert told.data == ({"status": 74, "ended": 7, "why": died} if died else {"status": 0, "ended": 7})


async def _quick(error: Exception | None = None) -> None:
    if error is not None:
        raise error
    await asyncio.Event().wait()


@pytest.mark.parametrize("error", [None, FaultError("refused")], ids=["interrupted", "one of them fails"])
def test_an_order_on_its_way_is_waited_for(error: Exception | None) -> None:
    """The run goes on to its healing only when no injection can come any more, however quickly the others ended."""
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def order() -> None:
        begun.set()
        may_end.wait(20)
        ended.set()

    async def interrupted() -> bool:
        orders = asyncio.create_task(_all_ended([_quick(error), to_the_end(order)]))
        await asyncio.to_thread(begun.wait, 20)
        if error is None:
            orders.cancel()
        went_on, _ = await asyncio.wait({orders}, timeout=0.2)
        may_end.set()
        await asyncio.gather(orders, return_exceptions=True)
        return bool(went_on) or not ended.is_set()

    assert not asyncio.run(interrupted()), "healing would have overtaken the order"


class _Clock(_Quiet):
    """A clock that goes on a second whenever somebody looks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_s(self) -> float:
        """The run's clock."""
        self.seconds += 1.0
        return self.seconds


def test_counters_are_read_again_after_the_load() -> None:
    """However late a probe is: first what every replica counted, then what others asked of it."""
    counts = Counter(
        {(r, m, ""): 9 for r in STACK.of("replica") for m in ("generation_tokens_total", "own_tokens_asked_total")}
    )

    def read(metric: str, replica: str = STACK.of("replica")[0], times: int = 4) -> None:
        counts[replica, metric, ""] += times

    async def drill() -> None:
        conductor = _waiting()
        conductor.writer = SimpleNamespace(counts=counts)  # type: ignore[assignment]
        waiting = asyncio.create_task(conductor._await_readings())
        for metric in ("generation_tokens_total", "own_tokens_asked_total"):
            for replica in STACK.of("replica"):
                await asyncio.wait([waiting], timeout=0.12)
                assert not waiting.done(), (metric, replica)
                read(metric, replica)
        await asyncio.wait_for(waiting, 2)

    asyncio.run(drill())


def test_counters_that_nobody_reads_are_waited_for_with_a_bound() -> None:
    """A replica that is gone at the end of a run must not keep it from ending."""

    async def drill() -> None:
        conductor = _waiting()
        conductor.run.log = _Clock()  # type: ignore[misc]
        conductor.writer = SimpleNamespace(counts=Counter({(STACK.of("replica")[0], "generation_tokens_total", ""): 1}))  # type: ignore[assignment]
        await asyncio.wait_for(conductor._await_readings(), 5)

    asyncio.run(drill())


class _Starting:
    """A fault that settles after some looks."""

    def __init__(self, looks: int) -> None:
        self.id, self.looks = f"restart/{looks}", looks

    async def settled(self, world: object) -> bool:
        """Whether it was looked at often enough."""
        self.looks -= 1
        return self.looks <= 0


@pytest.mark.parametrize(("looks", "at_most", "unsettled"), [(2, "60s", []), (10_000, "1s", ["restart/10000"])])
def test_a_phase_is_held_until_its_faults_have_settled(looks: int, at_most: str, unsettled: list[str]) -> None:
    """It lasts longer than its duration, but never longer than at_most; the record says what was given up."""
    phase = Phase.model_validate(
        {"name": "restart", "kind": "fault", "duration": "50ms", "until": "settled", "at_most": at_most}
    )

    async def drill() -> tuple[float, list[object]]:
        conductor, heard = _waiting(), list[object]()
        loop = asyncio.get_running_loop()
        began = loop.time()
        conductor.run.log.now_s = lambda: loop.time() - began  # type: ignore[method-assign]
        conductor.run.log.add = lambda kind, **data: heard.append((kind, data["unsettled"]))  # type: ignore[assignment, misc]
        conductor.world = object()  # type: ignore[assignment]
        await conductor._last(phase, [_Starting(looks)], 0.0)  # type: ignore[list-item]
        return loop.time() - began, heard

    lasted_s, heard = asyncio.run(drill())
    assert heard == [("phase_settled", unsettled)]
    assert lasted_s < 50 if not unsettled else lasted_s >= 1.0


@pytest.mark.parametrize("clears", [True, False])
def test_a_recovery_is_held_until_the_alerts_have_cleared(clears: bool) -> None:
    """It ends soon after the last alert, at at_most when one goes on; where there are none, after its duration."""
    phase = Phase.model_validate(
        {"name": "recovery", "kind": "recovery", "duration": "50ms", "until": "alerts_cleared", "at_most": "1s"}
    )

    async def drill(alerts: object) -> list[object]:
        conductor, heard = _waiting(), list[object]()
        loop = asyncio.get_running_loop()
        began = loop.time()
        conductor.run.log.now_s = lambda: loop.time() - began  # type: ignore[method-assign]
        conductor.run.log.add = lambda kind, **data: heard.append((kind, data["unsettled"]))  # type: ignore[assignment, misc]
        conductor.alerts = alerts  # type: ignore[assignment]
        await conductor._last(phase, [], 0.0)
        return heard

    async def cleared() -> None:
        last_one = asyncio.Event()
        if clears:
            asyncio.get_running_loop().call_later(0.2, last_one.set)
        await last_one.wait()

    assert asyncio.run(drill(None)) == []
    heard = asyncio.run(drill(SimpleNamespace(cleared=cleared)))
    assert heard == [("phase_settled", [] if clears else ["alerts"])]


BASELINE = Phase.model_validate({"name": "baseline", "kind": "baseline", "duration": "1s"})
BROKEN = Phase.model_validate(
    {"name": "outage", "kind": "fault", "duration": "1s", "faults": [{"type": "pause", "on": "dns"}]}
)


def _before_a_fault(late: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[Conductor, list[dict[str, object]]]:
    """A conductor at the end of a phase, with a load whose answers are in time or late; and what it records."""
    heard: list[dict[str, object]] = []
    conductor, scenario = _waiting(), runs.scenario()
    within, slow = (0, {"ttft": 50}) if late else (50, {})
    window = Window(1.0, 50, 36, 50, 50, 0, 1500.0, 1.0, {"ok": 50}, within, slow, {"150": 50})
    conductor.load = SimpleNamespace(ended=None, silent=False, windows=[window])  # type: ignore[assignment]
    conductor.run.scenario = scenario  # type: ignore[misc]
    conductor.run.log = _Clock()  # type: ignore[misc]
    conductor.run.log.add = lambda kind, **data: heard.append({"kind": kind, **data})  # type: ignore[assignment, misc]
    conductor.world = SimpleNamespace(topology=SimpleNamespace(components=()))  # type: ignore[assignment]
    monkeypatch.setattr(session.asyncio, "sleep", lambda seconds, sleep=asyncio.sleep: sleep(0))
    return conductor, heard


def test_without_steady_state_nothing_is_injected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users wait too long before the first fault: the gate gives up in bounded time and ends the run."""
    conductor, heard = _before_a_fault(late=True, monkeypatch=monkeypatch)
    with pytest.raises(
        FaultError, match=r"not in steady state after baseline: TTFT p95 1\.5 s, limit 0\.8 s; 36 in flight"
    ):
        asyncio.run(conductor._steady_after(BASELINE, BROKEN))
    assert [(one["kind"], one["phase"], one["reached"]) for one in heard] == [("steady_state", "baseline", False)]


def test_the_end_of_a_run_needs_no_steady_state_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would follow: it is recorded, and judged."""
    conductor, heard = _before_a_fault(late=True, monkeypatch=monkeypatch)
    asyncio.run(conductor._steady_after(RECOVERY, None))
    assert [one["reached"] for one in heard] == [False]


def test_steady_state_lets_the_fault_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, with what was seen."""
    conductor, heard = _before_a_fault(late=False, monkeypatch=monkeypatch)
    asyncio.run(conductor._steady_after(BASELINE, BROKEN))
    assert [one["reached"] for one in heard] == [True]
    assert heard[0]["since_s"] == 1.0


def test_the_load_is_shown_while_the_steady_state_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs: «no load» would be wrong."""
    conductor, _ = _before_a_fault(late=True, monkeypatch=monkeypatch)
    shown: list[Sequence[Window]] = []
    conductor.run.progress = SimpleNamespace(tick=lambda *ticked: shown.append(ticked[2]))  # type: ignore[misc, assignment]
    first = conductor.load.windows[0]  # type: ignore[union-attr]
    conductor.load.windows = [replace(first, t_s=float(t_s)) for t_s in range(100)]  # type: ignore[union-attr, assignment]
    asyncio.run(conductor._steady_after(RECOVERY, None))
    assert all(shown)
    assert shown


@pytest.mark.parametrize("how", ["locked", "forgotten", "moved"])
def test_a_stack_that_is_taken_down_ends_the_run(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody does so, and when they have; a state folder that is elsewhere says nothing."""
    monkeypatch.setattr(state, "STATE_ROOT", tmp_path)
    folder = tmp_path / "3"
    if how != "moved":
        folder.mkdir()
    with state.locked(folder, print) if how == "locked" else nullcontext():
        assert bool(session._takes_down(folder)) == (how != "moved")
        if how == "moved":
            return
        conductor = _waiting()
        conductor.run.runtime = SimpleNamespace(topology=SimpleNamespace(instance=3))  # type: ignore[misc, assignment]
        conductor.world = SimpleNamespace()  # type: ignore[assignment]
        with pytest.raises(StackError, match="the stack of this run was taken down"):
            asyncio.run(asyncio.wait_for(conductor.stack_kept(), 10))
        assert conductor.taken_down


def test_what_the_warm_up_saw_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its windows are older than its end."""
    conductor, _ = _before_a_fault(late=False, monkeypatch=monkeypatch)
    warm_up = Phase.model_validate({"name": "warm-up", "kind": "warmup", "duration": "1s"})
    conductor.run.log.seconds = 5.0  # type: ignore[attr-defined]
    asyncio.run(conductor._steady_after(warm_up, BASELINE))
    assert "only 0 requests" in conductor._steady_now().why


class _Proven:
    """A fault that is proven as often as it says, the last time as told."""

    id, on, type = "cut/timeout/link", "link", "timeout"
    proven_again = True

    def __init__(self, *proven: bool) -> None:
        self.proven = list(proven)

    async def verify(self, world: object) -> Proof:
        """The next one."""
        return Proof(self.proven.pop(0), "crossing took +3 ms", "", "")


@pytest.mark.parametrize(
    ("proven", "again", "kinds"),
    [
        ([True, True], True, ["fault_proven", "fault_proven_again"]),
        ([True, False], True, ["fault_proven", "fault_lost"]),
        ([True], False, ["fault_proven"]),
        ([False], True, ["fault_unproven"]),
    ],
)
def test_an_effect_is_proven_again(
    proven: list[bool], again: bool, kinds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it can be, and where it was proven at all; what is lost by then is recorded."""
    conductor, told, fault = _waiting(), list[str](), _Proven(*proven)
    fault.proven_again = again
    monkeypatch.setattr(conductor, "_world", lambda: None)
    monkeypatch.setattr(conductor, "_evidence", lambda kind, *_, **__: told.append(kind))
    asyncio.run(conductor._prove(fault, RECOVERY, again_s=0.0))  # type: ignore[arg-type]
    assert told == kinds
    assert fault.proven == []


class _Stays:
    """Stands for a fault of which something stays."""

    id, on, type = "swap/swap/replica-2", "replica-2", "swap"

    def undo(self) -> Undo:
        """What is taken back in its phase."""
        return Undo(self.id, "in the phase", {})

    def stays(self) -> Undo | None:
        """What is taken back later."""
        return Undo(f"{self.id}/version", "in the end", {})

    async def verify_gone(self, world: object) -> Proof:
        """It is."""
        return Proof(True, "gone", "", "")


def test_what_users_would_feel_is_taken_back_when_they_have_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its phase it is written down, so that whoever comes after a crash finds it; and only without load it goes."""
    done: list[str] = []
    monkeypatch.setattr(session, "take_back", lambda world, undo: done.append(undo.action))

    async def ended(_: float) -> None:
        done.append("load off")

    async def drill() -> list[str]:
        load = SimpleNamespace(stop=ended, ended=0, reported_ended=0, death="")
        log, world = EventLog(RunFolder(tmp_path), 0.0), SimpleNamespace()
        watchdog = SimpleNamespace(tell=lambda line: None)
        run = SimpleNamespace(log=log, progress=_Quiet(), folder=SimpleNamespace(path=tmp_path), watchdog=watchdog)
        conductor = Conductor(run, asyncio.Event(), load=load, world=world)  # type: ignore[arg-type]
        monkeypatch.setattr(conductor, "_await_readings", _nothing)
        await conductor._heal(_Stays(), RECOVERY)  # type: ignore[arg-type]
        assert done == ["in the phase"]
        left = [undo.id for undo in conductor.journal.open_entries()]
        await conductor._take_back_what_stays()
        assert conductor.journal.open_entries() == []
        log.close()
        return left

    assert asyncio.run(drill()) == ["swap/swap/replica-2/version"]
    assert done == ["in the phase", "load off", "in the end"]
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert kinds[-3:] == ["load_stopped", "fault_healed", "heal_proven"]


async def _nothing() -> None:
    pass


class _Mute(_Quiet):
    """Neither writes nor shows anything."""

    def add(self, *_: object, **data: object) -> None:
        """The disk is full."""
        raise ValueError("I/O operation on closed file")

    say = add  # type: ignore[assignment]


def test_a_signal_stops_the_run_before_anything_is_written() -> None:
    """What cannot be recorded or shown keeps nobody from ending the run."""
    stop = asyncio.Event()
    run = SimpleNamespace(log=_Mute(), progress=_Mute(), caught=[])
    with pytest.raises(ValueError, match="closed file"):
        session._Ender(stop, run).caught(signal.SIGINT)  # type: ignore[arg-type]
    assert stop.is_set()
    assert run.caught == [signal.SIGINT]


def test_ctrl_z_is_refused_with_a_sentence() -> None:
    """A run that is paused would leave its fault where it is."""
    said: list[str] = []

    async def drill() -> bool:
        stop, told = asyncio.Event(), asyncio.Event()

        def say(line: str) -> None:
            said.append(line)
            told.set()

        with session.catching(lambda _: stop.set(), say):
            os.kill(os.getpid(), signal.SIGTSTP)
            await told.wait()
        return stop.is_set()

    assert asyncio.run(drill()) is False
    assert said == [session.NO_PAUSE]


def test_each_part_of_the_way_out_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the parts before it died of, a bug or an error that nobody foresaw, and each is recorded."""
    parts = [
        "end_heal_proofs",
        "heal_everything",
        "stop_load",
        "end_probes",
        "close_writer",
        "collect_logs",
        "finish_requests",
    ]
    tried, heard = list[str](), list[str]()

    def broken(name: str) -> object:
        async def part() -> None:
            tried.append(name)
            raise KeyError(name)

        return part

    progress = SimpleNamespace(say=lambda text: None, end=lambda: tried.append("end"))
    log = SimpleNamespace(add=lambda kind, why: heard.append(why))
    conductor = Conductor(SimpleNamespace(log=log, progress=progress), asyncio.Event())  # type: ignore[arg-type]
    for name in parts:
        monkeypatch.setattr(conductor, f"_{name}", broken(name))
    asyncio.run(conductor.finish())
    assert tried == [*parts, "end"]
    assert heard == [f"KeyError: '{name}'" for name in parts]


@pytest.mark.parametrize("taken", ["", "the harness was stopped"])
def test_a_silent_watchdog_is_replaced_and_one_that_took_over_ends_the_run(taken: str) -> None:
    """The run is never without a watchdog, and never goes on behind the back of one that has healed."""
    started, alive = list[bool](), [False]

    def start() -> None:
        started.append(True)
        alive[0] = True

    class _Dog(SimpleNamespace):
        @property
        def alive(self) -> bool:
            """Whether it answers."""
            return alive[0]

    conductor = _waiting()
    conductor.run.watchdog = _Dog(taken=taken, start=start)  # type: ignore[misc]
    conductor.run.log.add = lambda kind, **data: None  # type: ignore[assignment, misc]
    if taken:
        with pytest.raises(FaultError, match="was stopped; no further fault is injected"):
            asyncio.run(conductor.watched())
    else:
        conductor._require_watchdog()
    assert started == ([] if taken else [True])


def test_a_load_generator_that_is_silent_ends_the_run() -> None:
    """It is stopped, or hangs: nothing is measured any more."""
    conductor = _waiting(load=SimpleNamespace(ended=None, silent=True, windows=[]))
    with pytest.raises(StackError, match="has not reported for 6 s"):
        asyncio.run(conductor._hold("baseline", 10.0))
