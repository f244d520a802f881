"""Conducts one run: brings up, loads, breaks, proves, heals, proves again, and records all of it.

Nothing here judges. What is not recorded did not happen; what goes wrong is recorded as an event and the run ends
early, healed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

from harness.adapters.load import LoadProcess, Window
from harness.adapters.toxiproxy import Toxiproxy
from harness.evidence import interference, record
from harness.evidence.record import EventLog, RunFolder
from harness.faults import simulator
from harness.faults.base import Fault, Proof, Stays, World, of_phase, take_back, to_the_end, undo_actions
from harness.judge import request_limits
from harness.judge.presence import AGAIN_BEFORE_S
from harness.model import exhausted
from harness.model.errors import DrillyardError, Exhausted, FaultError, StackError
from harness.model.journal import Journal, Undo
from harness.model.lease import LEASE_S
from harness.model.scenario import Phase, Scenario
from harness.model.topology import SERVICE_NAME, SERVICE_PORT, Topology
from harness.model.waves import FILE as WAVES_FILE
from harness.plan import defects
from harness.plan.defects import Switch
from harness.plan.stop_conditions import LOOK_BACK_S, Watch
from harness.probes import endpoint, machine, release
from harness.probes.alerts import AlertProbe
from harness.probes.base import MetricWriter, Probe, run_probe
from harness.probes.component_logs import LogMarks
from harness.probes.dns import DnsProbe
from harness.probes.engine import EngineProbe
from harness.probes.exporter import ExporterProbe
from harness.probes.gateway import GatewayProbe
from harness.probes.generator import GeneratorProbe
from harness.probes.path import PathProbe
from harness.probes.presence import PresenceProbe
from harness.probes.readiness import ReadinessProbe
from harness.probes.resources import ResourceProbe
from harness.probes.waves import Waves
from harness.recover import doctor, heal, lock
from harness.run import steady
from harness.run.collect import finish_requests
from harness.run.progress import Progress, step_line
from stack import keys as stack_keys
from stack import state
from stack.engines import DEPLOYMENT
from stack.models.catalogue import QUESTIONS_FILE
from stack.runtimes import priority
from stack.runtimes.base import Runtime

DRAIN_S = 5.0
#: What ends a run early, healed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: What Ctrl-Z is answered with: a fault would stay while nobody heals it.
NO_PAUSE = "SIGTSTP: a run in progress cannot be paused, since its fault would stay; press Ctrl-C to end it healed"
#: The watchdog is looked at so often.
WATCHDOG_EVERY_S = 0.5
#: After the load probes go on until these were read so often again, one after the other, at most so long: what the
#: replicas counted once the last stream had ended, then what others than users had asked of them until then.
READ_AFTER_LOAD = (("generation_tokens_total", 4), ("own_tokens_asked_total", 3))
READ_WITHIN_S = 8.0
#: Before the load: metric and labels, and how many readings of it the check of the counters needs.
READ_FIRST = {
    ("own_tokens_asked_total", "by=harness"): 2,
    ("own_tokens_asked_total", "by=exporter"): 2,
    ("generation_tokens_total", ""): 4,
}
#: Pause between two looks whether a fault has settled.
SETTLED_EVERY_S = 0.25
#: Taking everything back on the way out may last so long before the run is left as it is, with an event saying so.
HEAL_DEADLINE_S = 20.0


class Watchdog(Protocol):
    """Who heals when the harness is killed or stopped (harness/recover/watchdog.py)."""

    @property
    def alive(self) -> bool:
        """Whether it is there and answers."""

    @property
    def taken(self) -> str:
        """Why it has taken over; "" as long as it has not."""

    def start(self) -> None:
        """Start it, or another one in the place of one that is not alive."""

    def expect(self, until_mono_s: float) -> None:
        """The phase that begins now is planned to end at that monotonic time."""

    def tell(self, line: Mapping[str, Any]) -> None:
        """Hand over a line of the undo journal; blocks until it is known. FaultError when it is not."""


@dataclass(frozen=True)
class Run:
    """What a run needs, made by the pipeline before anything is touched."""

    folder: RunFolder
    scenario: Scenario
    runtime: Runtime
    progress: Progress
    log: EventLog
    seed: int
    zero_mono_s: float
    watchdog: Watchdog
    switches: tuple[Switch, ...] = ()  # of the simulator, on for this run
    caught: list[signal.Signals] = field(default_factory=list)  # what interrupted it, whatever could be recorded


async def conduct(run: Run) -> None:
    """Conduct ``run``, in these steps:

    1. signals are caught: from here on every exit passes through step 7
    2. leftovers of earlier runs are repaired
    3. the stack is brought up, or found warm; what the simulator is to do wrong is switched on
    4. probes and load start
    5. each phase: measure → inject → prove the effect → hold → heal → prove the heal, with the steady state asked
       for before every fault and at the end; what users would feel being taken back is taken back when they have gone
    6. DrillyardErrors end the run early, as an event ``aborted``; so does a stop condition that is met
    7. whatever happened: what is injected is taken back, load and probes stop, logs are collected
    """
    stop = asyncio.Event()
    with catching(_Ender(stop, run).caught, run.progress.say):
        conductor = Conductor(run, stop)
        phases = asyncio.create_task(conductor.perform())
        enders: list[Coroutine[Any, Any, object]] = [
            stop.wait(), conductor.stop_condition(), conductor.watched(), conductor.stack_kept(),
        ]  # fmt: skip
        others = [asyncio.create_task(ender) for ender in enders]
        try:
            await asyncio.wait({phases, *others}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (phases, *others):
                task.cancel()
            results = await asyncio.gather(phases, *others, return_exceptions=True)
            await conductor.finish()
    for result in results:
        _record_end(run, result)


def _record_end(run: Run, result: object) -> None:
    """What ended the run early, if anything did, as an event; what nobody foresaw goes on as an exception."""
    if not isinstance(result, Exception):
        return
    known = _first_known(result)
    why = str(known) if known is not None else f"a bug in the harness: {type(result).__name__}: {result}"
    run.log.add("aborted", why=why)
    run.progress.say(f"the run ends early: {why}")
    if known is None:
        raise result


def _first_known(error: Exception) -> DrillyardError | None:
    """The error for people in ``error`` (task groups wrap theirs); None when there is any other in it."""
    if isinstance(error, DrillyardError):
        return error
    if isinstance(error, OSError) and (what := exhausted.subtype(error)) is not None:
        return Exhausted(what, exhausted.WORDS[what])
    if (unwritten := record.storage_failure(error)) is not None:
        return unwritten
    if isinstance(error, ExceptionGroup):
        found = [_first_known(one) for one in error.exceptions]
        return None if None in found else found[0]
    return None


@contextmanager
def catching(end: Callable[[signal.Signals], None], say: Callable[[str], None]) -> Iterator[None]:
    """While active, SIGINT, SIGTERM and SIGHUP call ``end`` instead of ending the process, and Ctrl-Z is refused."""
    loop, numbers = asyncio.get_running_loop(), (*SIGNALS, signal.SIGTSTP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in SIGNALS:
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGTSTP, say, NO_PAUSE)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])  # asyncio leaves the system's own, which ends the process


@dataclass
class _Ender:
    """A signal sets ``stop``; more of them only remind."""

    stop: asyncio.Event
    run: Run

    def caught(self, number: signal.Signals) -> None:
        """As ``catching`` calls it."""
        again = self.stop.is_set()
        self.stop.set()  # first: what cannot be written or shown must not keep the run from ending
        self.run.caught.append(number)
        if again:
            self.run.progress.say("already stopping: taking everything back first")
            return
        self.run.log.add("interrupted", signal=number.name)
        self.run.progress.say(f"{number.name}: stopping; taking everything back first")


@dataclass
class Conductor:
    """One run in progress."""

    run: Run
    stop: asyncio.Event
    load: LoadProcess | None = None
    writer: MetricWriter | None = None
    marks: LogMarks | None = None
    world: World | None = None
    alerts: AlertProbe | None = None  # None where there are none to be had, on an external target
    probes: list[asyncio.Task[None]] = field(default_factory=list)
    heal_proofs: list[asyncio.Task[None]] = field(default_factory=list)
    staying: list[tuple[Fault, Stays, Undo]] = field(default_factory=list)
    taken_down: bool = False  # the stack, by somebody else
    warm_s: float = 0.0  # when the warm-up was over: what was before is no steady state

    @cached_property
    def journal(self) -> Journal:
        """The run's undo journal, which the watchdog hears, too."""
        return Journal(self.run.folder.path / "undo.jsonl", self.run.watchdog.tell)

    async def perform(self) -> None:
        """Steps 2 to 5 of ``conduct``."""
        await asyncio.to_thread(doctor.repair_for, self.run.folder, self._note)
        await asyncio.to_thread(self._stack_up)
        self.world = self._make_world()
        await asyncio.to_thread(self._learn_model, self.world)
        await to_the_end(self._switch_on, self.world)
        self.marks = LogMarks.take(self.run.runtime)
        self._start_probes(self.world)
        await self._await_first_readings()
        await self._start_load()
        phases = self.run.scenario.phases
        for phase, following in zip(phases, [*phases[1:], None], strict=True):
            if phase.kind == "quiet":
                await self._perform_quiet(phase)
                continue
            await self._perform_phase(phase)
            await self._steady_after(phase, following)
        await asyncio.gather(*self.heal_proofs)
        if self.staying:
            await self._take_back_what_stays()

    async def stop_condition(self) -> bool:
        """Return when a stop condition of the scenario is met, recorded; while none is, never."""
        watches = [Watch(condition) for condition in self.run.scenario.abort_when]
        while True:
            for watch in watches:
                why = watch.look(self._now(), self._windows_since(self._now() - LOOK_BACK_S))
                if why is not None:
                    self.run.log.add("stop_condition", condition=str(watch.condition), why=why)
                    self.run.progress.say(f"stop condition met: {why}; taking everything back")
                    return True
            await asyncio.sleep(0.5)

    async def watched(self) -> None:
        """Keep a watchdog. FaultError when none stays alive, or when it took over while this process was stopped."""
        while True:
            self._require_watchdog()
            await asyncio.sleep(WATCHDOG_EVERY_S)

    async def stack_kept(self) -> None:
        """StackError as soon as somebody takes the stack of this run down."""
        folder = state.instance_folder(self.run.runtime.topology)
        while True:
            if self.world is not None and (who := _takes_down(folder)):
                self.taken_down = True
                raise StackError(f"the stack of this run was taken down: {who}")
            await asyncio.sleep(WATCHDOG_EVERY_S)

    async def finish(self) -> None:
        """Step 7 of ``conduct``. Each part is tried whatever became of the others."""
        for part in (
            self._end_heal_proofs, self._heal_everything, self._stop_load, self._end_probes, self._close_writer,
            self._collect_logs, self._finish_requests,
        ):  # fmt: skip
            await self._attempt(part)
        self.run.progress.end()

    async def _attempt(self, part: Callable[[], Awaitable[None]]) -> None:
        """Whatever one part of the way out stumbles over is recorded, and the others are tried."""
        try:
            await part()
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            self.run.log.add("cleanup_problem", why=problem)
            self.run.progress.say(f"clean-up: {problem}")

    # ── the stack ──

    def _stack_up(self) -> None:
        warm = self.run.runtime.up(self._say_unless_stopped)
        self.run.log.add("stack_ready", warm=warm, runtime=self.run.runtime.name)

    def _say_unless_stopped(self, text: str) -> None:
        # Bringing a stack up blocks in a thread; its messages are where an interruption can reach it.
        if self.stop.is_set():
            raise StackError("interrupted while the stack was coming up")
        self.run.progress.say(text)

    def _make_world(self) -> World:
        undo_actions()  # loaded before anything is injected: the checkout may be gone when they are needed
        topology = self.run.runtime.topology
        if topology.target is not None:
            key = endpoint.key_of(topology.target)
        else:
            key = stack_keys.load_or_create(state.instance_folder(topology)).operator
        api = topology.component("toxiproxy")
        replicas = [component for component in topology.components if component.role == "replica"]
        keep, zero_s = self.run.folder.write_json, self.run.zero_mono_s
        return World(
            self.run.runtime,
            Toxiproxy(api.address, api.ports["api"]),
            PathProbe(topology, key, DEPLOYMENT),
            self._tell,
            Waves(replicas, zero_s, partial(keep, WAVES_FILE)),
            keep,
            zero_s,
        )

    def _tell(self, kind: str, **data: Any) -> None:
        """Record what a fault tells; whoever watches hears how far it has come."""
        self.run.log.add(kind, **data)
        if kind == "fault_step":
            self.run.progress.say(step_line(data))

    def _learn_model(self, world: World) -> None:
        """Our own stack serves one deployment; a target's model is named by its owner or by itself."""
        topology = world.topology
        if topology.target is not None:
            world.path.deployment = endpoint.served_model(topology, topology.target)
            self._note(f"the target is asked for the model {world.path.deployment}")

    def _switch_on(self, world: World) -> None:
        """The run's switches of the simulator. They end with the run, whatever ends it: the undo comes first."""
        for replica, switches in defects.by_replica(self.run.switches).items():
            self.journal.will_need(simulator.undo(replica))
            simulator.switch_on(world, replica, switches)
            self._note(f"defect of {replica}: {', '.join(f'{name} = {value}' for name, value in switches.items())}")

    def _note(self, text: str) -> None:
        self.run.log.add("note", text=text)
        self.run.progress.say(text)

    # ── probes and load ──

    def _start_probes(self, world: World) -> None:
        self.writer = MetricWriter(self.run.folder.path / "metrics.parquet")
        components = world.topology.components
        target = world.topology.target
        probes: list[Probe] = [ResourceProbe(self.run.runtime)]
        if target is None:
            self.alerts = AlertProbe(world.topology, self.run.folder.zero_wall_s(), self.run.log.add)
            probes += [world.path.own, self.alerts]
            if world.waves is not None:
                probes += world.waves.probes
        elif target.metrics is not None:
            probes.append(EngineProbe.of_target(target.metrics, self.run.log.add))
        for component in components:
            if component.role == "replica":
                probes.append(EngineProbe.of_replica(component))
            elif component.role == "gateway":
                probes += [GatewayProbe(component), ReadinessProbe(component)]
            elif component.role == "dns":
                probes.append(DnsProbe(component))
            elif component.role == "exporter":
                probes.append(ExporterProbe(component))
        self.probes = [asyncio.create_task(run_probe(probe, self.writer, self.run.log)) for probe in probes]
        self.probes.append(asyncio.create_task(machine.watch(self.run.runtime, self.writer, self.run.log)))

    async def _await_first_readings(self) -> None:
        """Wait until what ``READ_FIRST`` names was read on every replica: the load begins after that."""
        replicas = [c.name for c in self._world().topology.components if c.role == "replica"]
        wanted = {(replica, *series): times for replica in replicas for series, times in READ_FIRST.items()}
        await self._await_counts(wanted, self._now() + READ_WITHIN_S)

    async def _await_counts(self, wanted: Mapping[tuple[str, str, str], int], give_up_s: float) -> None:
        """Wait until each series was read so often since the probes were started, or until the run's time is up."""
        assert self.writer is not None, "probes are started"
        while any(self.writer.counts[series] < times for series, times in wanted.items()):
            if self._now() > give_up_s:
                return
            await asyncio.sleep(0.05)

    async def _start_load(self) -> None:
        scenario = self.run.scenario
        self.run.folder.write_json(
            "load.json",
            {
                "zero_mono_s": self.run.zero_mono_s,
                "seed": self.run.seed,
                "load": scenario.load.model_dump(mode="json"),
                **service(self.run.runtime.topology),
                "deployment": self._world().path.deployment,
                "questions": str(QUESTIONS_FILE),
                "request_limits": {k: v.model_dump() for k, v in request_limits.of(scenario).items()},
                "drain_s": DRAIN_S,
            },
        )
        self.load = await LoadProcess.start(self.run.folder)
        priority.set_session(self.load.pid, priority.GENERATOR)
        await self.load.first_window()
        assert self.writer is not None, "probes are started before the load"
        probe = run_probe(GeneratorProbe(self.load.pid), self.writer, self.run.log)
        self.probes.append(asyncio.create_task(probe))
        self.run.log.add("load_started", rate_per_s=scenario.load.per_s)

    # ── phases ──

    async def _perform_phase(self, phase: Phase) -> None:
        world = self._world()
        faults = of_phase(phase, world.topology)
        await asyncio.gather(*(fault.measure(world) for fault in faults))
        self.run.log.add("phase_started", phase=phase.name, phase_kind=phase.kind)
        on = f" and until {phase.until}, {phase.longest:.0f} s at most".replace("_", " ") if phase.until else ""
        self.run.progress.say(f"phase {phase.name} ({phase.kind}, {phase.duration:.0f} s{on})")
        started = self._now()
        self.run.watchdog.expect(self.run.zero_mono_s + started + phase.longest)
        watched: list[asyncio.Task[None]] = []
        try:
            await _all_ended(self._inject(fault, phase, watched) for fault in faults)
            async with asyncio.TaskGroup() as group:
                for fault in faults:
                    group.create_task(self._prove(fault, phase, started + phase.duration - AGAIN_BEFORE_S))
                group.create_task(self._last(phase, faults, started))
        finally:
            await _end(watched)
        await _all_ended(self._heal(fault, phase) for fault in reversed(faults))
        self.run.log.add("phase_ended", phase=phase.name)
        self.heal_proofs += [asyncio.create_task(self._prove_healed(fault, phase)) for fault in faults]

    async def _perform_quiet(self, phase: Phase) -> None:
        """The only part without load. When its last stream has ended, each replica is asked to let go of its cache."""
        await self._stop_load()
        self.load = None
        self.run.log.add("phase_started", phase=phase.name, phase_kind=phase.kind)
        self.run.progress.say(f"phase {phase.name} ({phase.kind}, {phase.duration:.0f} s)")
        until_s = self._now() + phase.duration
        replicas = [one for one in self._world().topology.components if one.role == "replica"]
        ask = partial(release.reset_prefix_cache, within_s=phase.duration, token=self._engine_token())
        found = await asyncio.gather(*map(ask, replicas))
        for reset in found:
            self._released(reset)
        while (left := until_s - self._now()) > 0:
            self.run.progress.tick(phase.name, left, [])
            await asyncio.sleep(min(0.5, left))
        self.run.log.add("phase_ended", phase=phase.name)

    def _engine_token(self) -> str:
        return stack_keys.engine_token(self._world().path.operator_key)

    def _released(self, reset: release.Reset) -> None:
        self.run.log.add("prefix_cache_reset", **dataclasses.asdict(reset))
        self.run.progress.say(f"{reset.component}: {reset.why}")

    async def _inject(self, fault: Fault, phase: Phase, watched: list[asyncio.Task[None]]) -> None:
        """Each is watched from its own injection on: others of the phase may take longer to inject."""
        self._require_watchdog()
        self._check_recording()  # the load has ended when this process was stopped for long
        await to_the_end(self.journal.will_need, fault.undo())
        self._evidence("fault_injecting", fault, phase, excuses=fault.excuses)
        await fault.inject(self._world())
        self._evidence("fault_injected", fault, phase)
        if fault.lasts:
            watched.append(asyncio.create_task(self._watch(fault)))

    async def _watch(self, fault: Fault) -> None:
        assert self.writer is not None, "probes are started"
        probe = PresenceProbe(fault.id, fault.on, partial(fault.present, self._world()))
        await run_probe(probe, self.writer, self.run.log)

    async def _prove(self, fault: Fault, phase: Phase, again_s: float) -> None:
        """Now, and once more at ``again_s`` where the fault can be."""
        proof = await fault.verify(self._world())
        kind = "fault_proven" if proof.proven else "fault_unproven"
        self._evidence(kind, fault, phase, before=proof.before, during=proof.seen, why=proof.why)
        self.run.progress.say(f"{'proven' if proof.proven else 'NOT PROVEN'}: {proof.why}")
        if not proof.proven or not fault.proven_again:
            return
        await asyncio.sleep(max(0.0, again_s - self._now()))
        again = await fault.verify(self._world())
        kind = "fault_proven_again" if again.proven else "fault_lost"
        self._evidence(kind, fault, phase, during=again.seen, why=again.why)
        if not again.proven:
            self.run.progress.say(f"LOST BEFORE THE HEAL: {again.why}")

    async def _heal(self, fault: Fault, phase: Phase) -> None:
        self._evidence("fault_healing", fault, phase)
        if isinstance(fault, Stays) and (stays := fault.stays()) is not None:
            await to_the_end(self.journal.will_need, stays)
            self.staying.append((fault, fault, stays))
            self.run.log.add("fault_stays", fault=stays.id, on=fault.on, type=fault.type)
        await to_the_end(take_back, self._world(), fault.undo())
        self._evidence("fault_healed", fault, phase)  # before the mark: what is marked as done is not told again
        self.journal.done(fault.undo())

    async def _take_back_what_stays(self) -> None:
        """Nobody is there to feel it any more, and nothing is measured."""
        await self._stop_load()
        self.load = None
        await self._stop_probes()
        for fault, stays, undo in self.staying:
            what = {"fault": undo.id, "on": fault.on, "type": fault.type}
            self.run.progress.say(f"taking back what has stayed: {undo.id}")
            await to_the_end(take_back, self._world(), undo)
            self.run.log.add("fault_healed", **what)
            self.journal.done(undo)
            proof = await stays.verify_gone(self._world())
            kind = "heal_proven" if proof.proven else "heal_unproven"
            self.run.log.add(kind, **what, **_of_heal(proof))
            self.run.progress.say(f"{'gone' if proof.proven else 'NOT PROVEN TO BE GONE'}: {proof.why}")

    async def _prove_healed(self, fault: Fault, phase: Phase) -> None:
        proof = await fault.verify_healed(self._world())
        kind = "heal_proven" if proof.proven else "heal_unproven"
        self._evidence(kind, fault, phase, **_of_heal(proof))
        self.run.progress.say(f"{'healed' if proof.proven else 'NOT PROVEN TO BE HEALED'}: {proof.why}")

    def _evidence(self, kind: str, fault: Fault, phase: Phase, **data: Any) -> None:
        self.run.log.add(kind, fault=fault.id, phase=phase.name, on=fault.on, type=fault.type, **data)

    async def _last(self, phase: Phase, faults: Sequence[Fault], started_s: float) -> None:
        """Let the phase last: its duration, and until what it asks for has come, bounded."""
        awaited = self._awaited(phase, faults)
        settling = [asyncio.create_task(wait) for wait in awaited.values()]
        try:
            await self._hold(phase.name, started_s + phase.duration)
            if settling:
                await self._hold(f"{phase.name}, until it has settled", started_s + phase.longest, settling)
                unsettled = [name for name, task in zip(awaited, settling, strict=True) if not task.done()]
                after_s = round(self._now() - started_s, 3)
                self.run.log.add("phase_settled", phase=phase.name, after_s=after_s, unsettled=unsettled)
        finally:
            await _end(settling)
        for task in settling:
            if not task.cancelled():
                task.result()  # what went wrong while waiting is not lost

    def _awaited(self, phase: Phase, faults: Sequence[Fault]) -> dict[str, Coroutine[Any, Any, None]]:
        """What the phase has to wait for beyond its duration, by name."""
        if phase.until == "alerts_cleared" and self.alerts is not None:
            return {"alerts": self.alerts.cleared()}
        return {fault.id: self._settle(fault) for fault in faults} if phase.until == "settled" else {}

    async def _settle(self, fault: Fault) -> None:
        while True:
            if await fault.settled(self._world()):
                return
            await asyncio.sleep(SETTLED_EVERY_S)

    async def _hold(self, name: str, until_s: float, pending: Sequence[asyncio.Task[None]] | None = None) -> None:
        """Until that time; with ``pending`` no longer than these tasks last."""
        while (left := until_s - self._now()) > 0:
            if pending is not None and all(task.done() for task in pending):
                return
            self._check_recording()
            self.run.progress.tick(name, left, self._windows_since(self._now() - 2.0))
            await asyncio.sleep(min(0.5, left))

    async def _steady_after(self, phase: Phase, following: Phase | None) -> None:
        """Ask for the steady state when ``phase`` is followed by a fault or is the last; FaultError without it."""
        if phase.kind == "warmup":
            self.warm_s = self._now()
            return
        if not (following is None or following.kind in ("fault", "quiet")):
            return
        await self._await_heals(phase)
        give_up = self._now() + steady.patience_s(self.run.scenario.load.per_s, pages=self.alerts is not None)
        while True:
            found = self._steady_now()
            if found.reached or self._now() > give_up:
                break
            self._check_recording()
            waiting, load = f"{phase.name}: not in steady state: {found.why}", self._windows_since(self._now() - 2.0)
            self.run.progress.tick(waiting, give_up - self._now(), load)
            await asyncio.sleep(0.5)
        self.run.log.add("steady_state", phase=phase.name, **dataclasses.asdict(found))
        if not found.reached and following is not None and following.kind == "fault":
            raise FaultError(f"not in steady state after {phase.name}: {found.why}; no fault was injected after that")

    def _steady_now(self) -> steady.SteadyState:
        topology = self._world().topology
        names = {role: [c.name for c in topology.components if c.role == role] for role in ("gateway", "replica")}
        pages = () if self.alerts is None else self.alerts.pages
        stack = steady.Stack(names["gateway"], names["replica"], self._latest(), pages)
        windows = steady.stretch(self._windows_since(self.warm_s), self._now(), self.warm_s)
        machine_now = interference.machine_now(self._latest())
        return steady.judge(windows, request_limits.of(self.run.scenario), stack, machine_now)

    async def _await_heals(self, phase: Phase) -> None:
        """Wait until every heal so far is proven, or found not to be: an engine may start for longer than a phase."""
        while pending := [proof for proof in self.heal_proofs if not proof.done()]:
            self._check_recording()
            waiting = f"{phase.name}: {len(pending)} heals are not proven yet"
            self.run.progress.tick(waiting, 0.0, self._windows_since(self._now() - 2.0))
            await asyncio.wait(pending, timeout=0.5)
        await asyncio.gather(*self.heal_proofs)

    # ── the way out ──

    async def _end_heal_proofs(self) -> None:
        await _end(self.heal_proofs)

    async def _heal_everything(self) -> None:
        if self.world is None or not (entries := self.journal.open_entries()):
            return
        if self.taken_down and await self._stack_ended():
            for undo in entries:
                heal.gone_with_the_stack(self.journal, undo, self.run.log)
            return
        began, world = self._now(), heal.here(self._world().topology)
        everything = (world, self.journal, self.run.log, HEAL_DEADLINE_S, "the harness")
        if problems := await asyncio.to_thread(heal.take_everything_back, *everything):
            raise FaultError("still injected: " + "; ".join(problems))
        took_s = self._now() - began
        self.run.progress.say(f"healed: all that was injected ({len(entries)}) was rolled back in {took_s:.1f} s")

    async def _stack_ended(self) -> bool:
        """Wait until whoever takes the stack down has done so: every fault ends with it. False if it takes too long."""
        folder, give_up = state.instance_folder(self.run.runtime.topology), self._now() + HEAL_DEADLINE_S
        while self._now() < give_up:
            if state.load(folder) is None:
                return True
            await asyncio.sleep(0.1)
        return False

    async def _stop_load(self) -> None:
        if self.load is not None:
            self.run.progress.say("load off; waiting for running streams")
            await self.load.stop(DRAIN_S)
            died = {"why": self.load.death} if self.load.death else {}
            self.run.log.add("load_stopped", status=self.load.ended, ended=self.load.reported_ended, **died)
            if died:
                self.run.progress.say(self.load.death)
            if not self.taken_down:  # else nobody answers any more
                await self._await_readings()

    async def _await_readings(self) -> None:
        assert self.writer is not None, "probes are started before the load"
        give_up = self._now() + READ_WITHIN_S
        for metric, times in READ_AFTER_LOAD:
            counts = self.writer.counts.items()
            await self._await_counts({s: n + times for s, n in counts if s[1] == metric}, give_up)

    async def _stop_probes(self) -> None:
        await self._end_probes()
        await self._close_writer()

    async def _end_probes(self) -> None:
        await _end(self.probes)

    async def _close_writer(self) -> None:
        if self.writer is not None:
            writer, self.writer = self.writer, None
            await asyncio.to_thread(writer.close)

    async def _collect_logs(self) -> None:
        if self.marks is not None:
            with record.writing(self.run.folder.path / "logs"):
                await asyncio.to_thread(self.marks.collect, self.run.runtime, self.run.folder)

    async def _finish_requests(self) -> None:
        await asyncio.to_thread(finish_requests, self.run.folder, self.run.scenario)

    # ── small things ──

    def _world(self) -> World:
        assert self.world is not None, "phases run after the stack is up"
        return self.world

    def _now(self) -> float:
        return self.run.log.now_s()

    def _latest(self) -> dict[tuple[str, str, str], float]:
        return {} if self.writer is None else self.writer.latest

    def _windows_since(self, t_s: float) -> list[Window]:
        return [] if self.load is None else [window for window in self.load.windows if window.t_s > t_s]

    def _require_watchdog(self) -> None:
        """Whatever is injected must heal when this process is killed. FaultError when nobody would see to that."""
        watchdog = self.run.watchdog
        if watchdog.taken:
            raise FaultError(f"{watchdog.taken}; no further fault is injected")
        if watchdog.alive:
            return
        watchdog.start()
        self._note("the watchdog died or does not answer: another one is started")
        if not watchdog.alive:
            raise FaultError("no watchdog stays alive (logs/watchdog.log of the run says why): nothing is injected")

    def _check_recording(self) -> None:
        """RecordError when events cannot be written, StackError when the load generator has ended."""
        if self.run.log.failed is not None:
            raise self.run.log.failed
        if self.load is not None and self.load.ended is not None:
            raise StackError(self.load.death or "the load generator ended by itself: see logs/load.log of the run")
        if self.load is not None and self.load.silent:
            raise StackError(f"the load generator has not reported for {LEASE_S:g} s: it is stopped, or hangs")


def service(topology: Topology) -> dict[str, Any]:
    """Where load.json sends the users, with whose keys: over DNS to our gateways, or over the link to the target."""
    if topology.target is None:
        dns = topology.component("dns")
        service = {"name": SERVICE_NAME, "port": SERVICE_PORT, "dns": [dns.address, dns.ports["dns"]]}
        return {"service": service, "keys_file": str(stack_keys.path(state.instance_folder(topology)))}
    link, far = topology.link("client-to-target"), topology.target.service
    service = {
        "name": far.host,
        "address": link.listen_address,
        "port": link.listen_port,
        "authority": far.authority,
        "tls": far.scheme == "https",
        "path": far.path,
    }
    return {"service": service, "key_env": topology.target.api_key_env}


def _takes_down(folder: Path) -> str:
    """By whom the instance is or was taken down, in words; "" while it is not. A missing folder proves neither."""
    if (seen := lock.look(folder / state.LOCK)).held:
        return f"process {seen.name} does so (`harness down --force`)"
    return "it is gone" if folder.exists() and state.load(folder) is None else ""


async def _all_ended(orders: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run them side by side; return when all have ended, also when one fails or the caller is cancelled.

    ``asyncio.gather`` returns with the first that ends badly: the way out would then heal what another one is about to
    break.
    """
    async with asyncio.TaskGroup() as group:
        for order in orders:
            group.create_task(order)


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel the tasks and see them end. StackError when one does not within some seconds.

    One cancellation is not always enough: Python 3.11's ``wait_for``, which libraries use, can lose it.
    """
    pending = {task for task in tasks if not task.done()}
    for _ in range(10):
        if not pending:
            return
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1.0)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # looked at: what a probe or a proof died of does not matter any more
    if pending:
        raise StackError(f"{len(pending)} of the harness' own tasks do not end")


def _of_heal(proof: Proof) -> dict[str, Any]:
    """What an event tells of a heal's proof; of one that failed, what is left, too."""
    told = {"before": proof.before, "after": proof.seen, "why": proof.why}
    return told if proof.proven else {**told, "left": proof.left}
