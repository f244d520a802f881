"""One crash: a drill is run, the harness is ended at some moment in some way, and what is left is looked for."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from harness.evidence.record import RunFolder
from harness.model.lease import BEAT_S, LEASE_S
from harness.model.topology import Topology
from harness.run.ends import NO_PAUSE
from harness.run.outcome import run_name
from stack import state
from stack.runtimes import family, readiness
from stack.runtimes.process import ProcessRuntime
from tests.drills.drill_process import Running, load_processes
from tests.drills.outcome import CHECKOUT
from tests.trust import aftermath
from tests.trust.lanes import silent

SCENARIO = Path(__file__).with_name("storm.yaml")
HEALED_WITHIN_S = 5.0
#: The watchdog judges and renders on a machine that drills something else meanwhile.
ENDED_WITHIN_S = 60.0
READY_WITHIN_S = 60.0
MOMENT_WITHIN_S = 90.0
#: The longest phase with a fault in storm.yaml.
PHASE_S = 5.0
#: Looked at by who watches a lease.
STOPPED_HEALS_AFTER_S = PHASE_S + LEASE_S + 2 * BEAT_S


class Problem(Exception):
    """Something is not as it must be; the rest need not be looked at."""


class Missed(Exception):
    """The drill ended before the moment had come: nothing was learnt."""


@dataclass(frozen=True)
class Moment:
    """``later_s`` after something has happened for the ``count``-th time: an event of the run, or one of ``OTHERS``."""

    what: str
    count: int
    later_s: float

    def __str__(self) -> str:
        """For people."""
        return f"{self.later_s * 1000:.0f} ms after {self.what} no. {self.count}"


class Drill:
    """A drill in progress, and its folder as soon as it has one."""

    #: Moments that are no events.
    OTHERS = ("started", "planned", "stack starts", "undo written", "undo done", "judged")

    def __init__(self, topology: Topology, folder: Path, mark: str, *overrides: str) -> None:
        self.topology, self.mark = topology, mark
        arguments = ("--scenario", str(SCENARIO), *(word for one in overrides for word in ("--set", one)))
        self.running = Running(topology, folder, *arguments, environment={aftermath.MARK: mark})
        self._run: RunFolder | None = None

    @property
    def pid(self) -> int:
        """The harness."""
        return self.running.process.pid

    @property
    def run(self) -> RunFolder | None:
        """Its folder; None until it has said which one that is."""
        if self._run is None and (name := run_name(self.running.said)):
            self._run = RunFolder(CHECKOUT / "runs" / name)
        return self._run

    def times(self, what: str) -> int:
        """How often that has happened so far."""
        if what == "started":
            return 1
        if what == "stack starts":
            return self.running.said.count("started ")
        if self.run is None:
            return 0
        if what == "planned":
            return 1
        if what == "judged":
            return int((self.run.path / "verdict.json").exists())
        if what.startswith("undo "):
            return self._text("undo.jsonl").count('"done"' if what == "undo done" else '"action"')
        return self._text("events.jsonl").count(f'"kind": "{what}"')

    def _text(self, name: str) -> str:
        path = self.run.path / name if self.run else None
        return path.read_text(errors="replace") if path and path.exists() else ""

    def wait_for(self, moment: Moment) -> None:
        """Wait until the moment has come. Missed when the run ends before."""
        deadline = time.monotonic() + MOMENT_WITHIN_S
        while self.times(moment.what) < moment.count:
            if self.running.process.poll() is not None or time.monotonic() > deadline:
                raise Missed(f"it never came to {moment.what} no. {moment.count}:\n{self.running.said[-1500:]}")
            time.sleep(0.003)
        time.sleep(moment.later_s)

    def watchdogs(self) -> list[psutil.Process]:
        """The watchdog of this run."""
        return [p for p in aftermath.processes(self.mark) if "harness.recover.watchdog" in aftermath.command(p)]


def _send(*numbers: signal.Signals, gap_s: float = 0.03) -> Callable[[Drill], None]:
    def blow(drill: Drill) -> None:
        for index, number in enumerate(numbers):
            if index:
                time.sleep(gap_s)
            with suppress(ProcessLookupError):
                drill.running.process.send_signal(number)

    return blow


def _to_the_group(drill: Drill) -> None:
    with suppress(ProcessLookupError):
        os.killpg(drill.pid, signal.SIGKILL)


def _watchdog_first(drill: Drill) -> None:
    _send(signal.SIGSTOP)(drill)  # it starts another one as soon as it sees that
    family.signal_all(drill.watchdogs(), signal.SIGKILL)
    _send(signal.SIGKILL)(drill)


def _with_toxiproxy(drill: Drill) -> None:
    pid = next(s.pid for s in ProcessRuntime(drill.topology).states() if s.name == "toxiproxy")
    _send(signal.SIGKILL)(drill)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _with_the_load(drill: Drill) -> None:
    load = load_processes(drill.run.path.name) if drill.run else []
    _send(signal.SIGKILL)(drill)
    family.signal_all(load, signal.SIGKILL)


def _folder(drill: Drill) -> Path:
    if drill.run is None:
        raise Missed("it has no folder yet")
    return drill.run.path


def _moved(drill: Drill) -> Path:
    return _folder(drill).with_name(f"{_folder(drill).name}-moved")


def _rename(drill: Drill) -> None:
    _folder(drill).rename(_moved(drill))


def _delete(drill: Drill) -> None:
    """Until nothing comes again: the run goes on writing meanwhile."""
    while _folder(drill).exists():
        shutil.rmtree(_folder(drill), ignore_errors=True)


def _delete_journal(drill: Drill) -> None:
    (_folder(drill) / "undo.jsonl").unlink()


def _nothing_writable(drill: Drill) -> None:
    psutil.Process(drill.pid).rlimit(psutil.RLIMIT_FSIZE, (1, 1))


def _to_watchdog(number: signal.Signals) -> Callable[[Drill], None]:
    return lambda drill: family.signal_all(drill.watchdogs(), number)


def _until_replaced(drill: Drill) -> None:
    """The silent watchdog is ended, and another one is there."""
    before = [process.pid for process in drill.watchdogs()]
    drill.running.wait_for(lambda: "another one is started" in drill.running.said, LEASE_S + 10)
    drill.running.wait_for(lambda: [p.pid for p in drill.watchdogs()] not in ([], before), 10)


def _load_has_ended(drill: Drill) -> None:
    """By itself: its harness is stopped."""
    if left := load_processes(_folder(drill).name):
        raise Problem(f"a load without a harness goes on: {'; '.join(map(aftermath.command, left))}")


def _refuses_to_pause(drill: Drill) -> None:
    _send(signal.SIGTSTP)(drill)
    drill.running.wait_for(lambda: NO_PAUSE in drill.running.said, 10)


def _all(*parts: Callable[[Drill], None]) -> Callable[[Drill], None]:
    def blow(drill: Drill) -> None:
        for part in parts:
            part(drill)

    return blow


#: What follows once a harness that was stopped has been healed.
THEN: dict[str, Callable[[Drill], None]] = {
    "SIGSTOP, SIGKILL once healed": _all(_load_has_ended, _send(signal.SIGKILL)),
    "SIGSTOP, SIGCONT once healed": _all(_load_has_ended, _send(signal.SIGCONT)),
}
#: Of storm.yaml, what is different.
OVERRIDES = {"SIGSTOP to the watchdog, SIGKILL when it was replaced": ("phases.3.duration=20s",)}
#: How a harness ends, by what people call it.
BLOWS: dict[str, Callable[[Drill], None]] = {
    "SIGSTOP, SIGKILL once healed": _send(signal.SIGSTOP),
    "SIGSTOP, SIGCONT once healed": _send(signal.SIGSTOP),
    "SIGSTOP to the watchdog, SIGKILL when it was replaced": _all(
        _to_watchdog(signal.SIGSTOP), _until_replaced, _send(signal.SIGKILL)
    ),
    "SIGSTOP to the watchdog, SIGKILL, SIGCONT to the watchdog": _all(
        _to_watchdog(signal.SIGSTOP), _send(signal.SIGKILL), _to_watchdog(signal.SIGCONT)
    ),
    "SIGTSTP, SIGINT": _all(_refuses_to_pause, _send(signal.SIGINT)),
    "folder deleted, SIGINT": _all(_delete, _send(signal.SIGINT)),
    "folder deleted, SIGKILL": _all(_delete, _send(signal.SIGKILL)),
    "folder renamed, SIGINT": _all(_rename, _send(signal.SIGINT)),
    "folder renamed, SIGKILL": _all(_rename, _send(signal.SIGKILL)),
    "journal deleted, SIGINT": _all(_delete_journal, _send(signal.SIGINT)),
    "journal deleted, SIGKILL": _all(_delete_journal, _send(signal.SIGKILL)),
    "nothing writable, SIGINT": _all(_nothing_writable, _send(signal.SIGINT)),
    "nothing writable, SIGTERM": _all(_nothing_writable, _send(signal.SIGTERM)),
    "SIGKILL": _send(signal.SIGKILL),
    "SIGKILL to its process group": _to_the_group,
    "SIGKILL, toxiproxy too": _with_toxiproxy,
    "SIGKILL, the load generator too": _with_the_load,
    "SIGKILL, the watchdog before": _watchdog_first,
    "SIGTERM": _send(signal.SIGTERM),
    "SIGHUP": _send(signal.SIGHUP),
    "SIGINT": _send(signal.SIGINT),
    "SIGINT twice": _send(signal.SIGINT, signal.SIGINT),
    "SIGINT 5 times": _send(*[signal.SIGINT] * 5),
    "SIGINT, SIGKILL while it stops": _send(signal.SIGINT, signal.SIGKILL, gap_s=0.4),
}


@dataclass(frozen=True)
class Case:
    """One crash, as drawn from its seed."""

    seed: int
    moment: Moment
    blow: str
    cold: bool = False  # the stack is down when the drill begins
    doctor_dies_s: float | None = None  # the first `doctor --fix` is killed so long after its start

    def __str__(self) -> str:
        """For people."""
        extra = ", cold stack" * self.cold + ", doctor killed once" * (self.doctor_dies_s is not None)
        return f"{self.blow}, {self.moment}{extra}"


@dataclass
class Outcome:
    """What a crash left. ``problems`` is empty when all is well."""

    case: Case
    healed_s: float | None = None
    ended_s: float | None = None  # when the last process of the run was gone
    problems: list[str] = field(default_factory=list)
    missed: int = 0  # drills that ended before the moment had come


def crash(case: Case, topology: Topology, folder: Path) -> Outcome:
    """Run a drill on the instance, end it as ``case`` says, look at what is left. Its folder goes if all is well."""
    outcome = Outcome(case)
    runtime = ProcessRuntime(topology)
    if case.cold:
        runtime.down(silent)
    else:
        runtime.up(silent)
    mark = f"{os.getpid()}-{case.seed}-{time.monotonic_ns()}"
    drill = Drill(topology, folder, mark, *OVERRIDES.get(case.blow, ()))
    try:
        _wait_for(case.moment, drill, outcome)
        stood = bool(drill.times("judged"))
        BLOWS[case.blow](drill)
        _healed(case, runtime, outcome)
        THEN.get(case.blow, lambda drill: None)(drill)
        _all_ended(drill, outcome)
        _whole(case, runtime, outcome)
        _told(case, drill, outcome, stood)
        _nothing_found(case, drill, runtime, outcome)
    except Problem as problem:
        outcome.problems.append(str(problem))
    finally:
        _make_sure_of_the_end(drill)
    if drill.run and not outcome.problems:
        for path in (drill.run.path, _moved(drill)):
            shutil.rmtree(path, ignore_errors=True)
    return outcome


def _wait_for(moment: Moment, drill: Drill, outcome: Outcome) -> None:
    """Wait until the moment has come. A drill that misses it ends as others do: judged, and nothing of it stays."""
    try:
        drill.wait_for(moment)
    except Missed:
        _send(signal.SIGINT)(drill)  # when it came too late it is still there
        _all_ended(drill, outcome)
        _no_traceback(drill)
        if drill.run is not None:
            if drill.run.events() and not (drill.run.path / "verdict.json").exists():
                raise Problem(f"it ended unharmed and has no verdict:\n{drill.running.said[-1500:]}") from None
            shutil.rmtree(drill.run.path)
        raise


def _healed(case: Case, runtime: ProcessRuntime, outcome: Outcome) -> None:
    """No fault is left within the limit; without a watchdog the doctor has to see to that."""
    began = time.monotonic()
    if case.cold:
        return
    if "watchdog before" in case.blow:
        _repair(case, runtime)
        outcome.healed_s = time.monotonic() - began
        if left := aftermath.faults(runtime):
            raise Problem(f"left after `doctor --fix`: {'; '.join(left)}")
        return
    stopped = case.blow in THEN
    within_s = HEALED_WITHIN_S + STOPPED_HEALS_AFTER_S * stopped
    while (left := aftermath.faults(runtime)) or (stopped and time.monotonic() - began < 2 * LEASE_S):
        if time.monotonic() - began > within_s:
            raise Problem(f"{within_s:.0f} s later: {'; '.join(left)}")
        time.sleep(0.03)
    outcome.healed_s = None if stopped else time.monotonic() - began


def _repair(case: Case, runtime: ProcessRuntime) -> None:
    """The doctor names what is left, and takes it away, even if it is killed the first time."""
    left = aftermath.faults(runtime)
    named = json.dumps(doctor(runtime, "--json").found)
    unnamed = [one for one in left if not any(word in named for word in one.split() if "-" in word)]
    if unnamed:
        raise Problem(f"the doctor does not name: {'; '.join(unnamed)}; only {named}")
    if case.doctor_dies_s is not None:
        dying = _doctor_process(runtime, "--fix")
        with suppress(subprocess.TimeoutExpired):
            dying.wait(timeout=case.doctor_dies_s)
        dying.kill()
        dying.communicate()
    fixed = doctor(runtime, "--fix")
    if fixed.code != 0:
        raise Problem(f"`doctor --fix` ended with {fixed.code}: {fixed.said}")


def _all_ended(drill: Drill, outcome: Outcome) -> None:
    """Every process of the run ends by itself."""
    began = time.monotonic()
    while (alive := aftermath.processes(drill.mark)) or drill.running.process.poll() is None:
        if time.monotonic() - began > ENDED_WITHIN_S:
            names = "; ".join(aftermath.command(process) for process in alive)
            raise Problem(f"{ENDED_WITHIN_S:.0f} s later there still is {names}")
        time.sleep(0.1)
    outcome.ended_s = time.monotonic() - began


def _whole(case: Case, runtime: ProcessRuntime, outcome: Outcome) -> None:
    """The stack is as it was: no straggler has come, and all that was missing has started."""
    if case.cold:
        return
    if left := aftermath.faults(runtime):
        raise Problem(f"when everybody had gone: {'; '.join(left)}")
    began = time.monotonic()
    while reasons := readiness.unready(runtime.topology):
        if time.monotonic() - began > READY_WITHIN_S:
            raise Problem(f"not ready {READY_WITHIN_S:.0f} s later: {'; '.join(reasons)}")
        time.sleep(0.2)


def _no_traceback(drill: Drill) -> None:
    if "Traceback" in drill.running.said and str(CHECKOUT) in drill.running.said:  # not one of Python's own start
        raise Problem(f"a traceback: {drill.running.said[-600:]}")


def _told(case: Case, drill: Drill, outcome: Outcome, stood: bool) -> None:
    """A run that had begun has a verdict and a report, and the verdict is no PASS unless it ``stood`` before."""
    _no_traceback(drill)
    if drill.run is None or not drill.run.events():
        return
    log = drill.run.path / "logs" / "watchdog.log"
    if log.exists() and (text := log.read_text()):
        outcome.problems.append(f"the watchdog's log says: {text[-600:]}")
    if "watchdog before" in case.blow:
        return
    noticed = any(event.kind == "interrupted" and "SIG" in event.data["signal"] for event in drill.run.events())
    if noticed and "SIGKILL" not in case.blow and (code := drill.running.process.returncode) != 130:
        outcome.problems.append(f"exit {code} after an interruption, expected 130")
    missing = [name for name in ("verdict.json", "report.html") if not (drill.run.path / name).exists()]
    if missing:
        outcome.problems.append(f"the run has no {' and no '.join(missing)}")
    elif not stood:
        verdict, expected = drill.run.read_json("verdict.json"), "interrupted"
        if case.blow.startswith("nothing writable"):
            expected = "could not be written"
        if verdict["status"] == "PASS" or expected not in verdict["reason"]:
            outcome.problems.append(f"the verdict does not say that it was ended: {verdict['reason']}")


def _nothing_found(case: Case, drill: Drill, runtime: ProcessRuntime, outcome: Outcome) -> None:
    """The doctor finds nothing. A stack that was killed while it came up is repaired first, and can be taken down.

    A run that was killed before it had a watchdog may leave its name in a lock that keeps nobody out; one whose folder
    was moved is judged where it is now.
    """
    seen = doctor(runtime, "--json")
    begun = drill.run is not None and bool(drill.run.events())
    kinds = {leftover["kind"] for leftover in seen.found}
    if case.cold or (not begun and kinds == {"lock"}) or ("renamed" in case.blow and kinds == {"run"}):
        fixed = doctor(runtime, "--fix")
        if fixed.code != 0:
            outcome.problems.append(f"`doctor --fix` ended with {fixed.code}: {fixed.said}")
        seen = doctor(runtime, "--json")
    if seen.code != 0 or seen.found or seen.busy:
        outcome.problems.append(f"the doctor (exit {seen.code}) finds {seen.found or seen.busy or seen.said}")
    if case.cold:
        found = state.load(runtime.folder)
        runtime.down(silent)
        if found is not None and (left := family.of_instance(found.instance_id)):
            outcome.problems.append("left after `down`: " + "; ".join(aftermath.command(p) for p in left))


@dataclass(frozen=True)
class Doctor:
    """What ``python -m harness doctor`` answered."""

    code: int
    said: str
    found: list[dict[str, object]]
    busy: dict[str, str]


def doctor(runtime: ProcessRuntime, argument: str) -> Doctor:
    """``python -m harness doctor`` for the instance, with one argument more."""
    process = _doctor_process(runtime, argument)
    out, err = process.communicate(timeout=120)
    data = json.loads(out) if argument == "--json" and out.strip() else {}
    return Doctor(process.returncode, out + err, data.get("leftovers", []), data.get("busy", {}))


def _doctor_process(runtime: ProcessRuntime, argument: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness", "doctor", "--instance", str(runtime.topology.instance), argument],
        cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,  # Ctrl-C is for the storm, which looks at what is under way to its end
    )  # fmt: skip


def _make_sure_of_the_end(drill: Drill) -> None:
    """Whatever was found: nothing of this run may disturb the next one."""
    family.signal_all(aftermath.processes(drill.mark), signal.SIGKILL)
    drill.running.process.kill()
    drill.running.process.wait()
