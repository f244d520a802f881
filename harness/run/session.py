"""One run in progress: its stack, its probes, its load, and the way out, as one async context.

What is done in a session is none of its business: a timeline plays the phases of a scenario on it, an injector breaks
what is up. Nothing here judges. What is not recorded did not happen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from harness.adapters.load import LoadProcess, Window
from harness.adapters.toxiproxy import Toxiproxy
from harness.evidence import record
from harness.faults import simulator
from harness.faults.base import FaultContext, to_the_end, undo_actions
from harness.judge import request_limits
from harness.model.errors import FaultError, StackError
from harness.model.journal import Journal
from harness.model.lease import LEASE_S
from harness.plan import defects
from harness.probes import endpoint, engine
from harness.probes.alerts import AlertProbe
from harness.probes.base import Scene, probes_of
from harness.probes.component_logs import LogMarks
from harness.probes.generator import GeneratorProbe
from harness.probes.path import PathProbe
from harness.probes.waves import Waves
from harness.recover import doctor, heal
from harness.run import ends, generator
from harness.run.collect import finish_requests
from harness.run.progress import step_line
from harness.run.run import Run
from harness.run.sampling import Sampling
from harness.run.tasks import try_each
from stack import keys as stack_keys
from stack import state
from stack.engines import DEPLOYMENT

DRAIN_S = 5.0
#: What checks need to be read before and after the load is waited for so long at most.
READ_WITHIN_S = 8.0
#: A target whose first answer takes longer is drilled without knowing whether it takes the key.
KEY_WITHIN_S = 10.0
#: Taking everything back on the way out may last so long before the run is left as it is, with an event saying so.
HEAL_DEADLINE_S = 20.0


@asynccontextmanager
async def opened(run: Run) -> AsyncIterator[Session]:
    """A session of ``run``. Signals are caught while it is open, and every exit passes through the way out.

    Then what ended it early is recorded, and what of that is a bug of the harness is raised: several as a group.
    """
    session = Session(run)
    bugs: list[Exception] = []
    with ends.catching(partial(ends.interrupt, run, session.stop), run.progress.say):
        try:
            yield session
        finally:
            bugs += await session.leave()
    bugs[:0] = filter(None, [ends.recorded(run, result) for result in session.results])
    if bugs:
        raise bugs[0] if len(bugs) == 1 else ExceptionGroup("bugs in the harness", bugs)


class Session:
    """What a timeline and an injector work with."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.stop = asyncio.Event()  # set by a signal
        #: The run's undo journal, which the watchdog hears, too.
        self.journal = Journal(run.folder.path / "undo.jsonl", run.watchdog.tell)
        self.sampling = Sampling(run.folder, run.log)
        self.load: LoadProcess | None = None
        self.alerts: AlertProbe | None = None  # None where there are none to be had, on an external target
        #: Parts of the way out that come before everything is rolled back.
        self.before_heal: list[Callable[[], Awaitable[None]]] = []
        self.results: list[object] = []  # of what was done in the session and of what ended it
        self._context: FaultContext | None = None
        self._marks: LogMarks | None = None
        self._taken_down = False  # the stack, by somebody else

    async def until_ended(self, play: Coroutine[Any, Any, None]) -> None:
        """Let ``play`` go on until its end, or until something else ends the run. What either raised is kept."""
        enders: list[Coroutine[Any, Any, object]] = [
            self.stop.wait(), ends.stop_condition(self.run, self.windows_since), ends.no_watchdog(self.run),
            self._stack_lost(),
        ]  # fmt: skip
        tasks = [asyncio.create_task(one) for one in (play, *enders)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            self.results += await asyncio.gather(*tasks, return_exceptions=True)

    async def begin(self) -> None:
        """Leftovers are repaired, the stack is brought up or found warm, probes and load are started."""
        await asyncio.to_thread(doctor.repair_for, self.run.folder, self.run.note)
        await asyncio.to_thread(self._stack_up)
        self._context = context = self._make_context()
        await asyncio.to_thread(self._learn_model, context)
        await self._require_answers(context)
        await to_the_end(self._switch_on, context)
        self._marks = LogMarks.take(self.run.runtime)
        self._start_probes(context)
        replicas = [one.name for one in context.topology.components if one.role == "replica"]
        before_load = [reading for check in self.run.checks for reading in check.before_load]
        await self.sampling.read(replicas, before_load, READ_WITHIN_S)
        await self._start_load()

    # ── the stack ──

    def _stack_up(self) -> None:
        warm = self.run.runtime.up(self._say_unless_stopped)
        self.run.log.add("stack_ready", warm=warm, runtime=self.run.runtime.name)

    def _say_unless_stopped(self, text: str) -> None:
        # Bringing a stack up blocks in a thread; its messages are where an interruption can reach it.
        if self.stop.is_set():
            raise StackError("interrupted while the stack was coming up")
        self.run.progress.say(text)

    def _make_context(self) -> FaultContext:
        undo_actions()  # loaded before anything is injected: the checkout may be gone when they are needed
        topology = self.run.runtime.topology
        if topology.target is not None:
            key = endpoint.key_of(topology.target)
        else:
            key = stack_keys.load_or_create(state.instance_folder(topology)).operator
        api = topology.component("toxiproxy")
        replicas = [component for component in topology.components if component.role == "replica"]
        keep, zero_s = self.run.folder.write_json, self.run.zero_mono_s
        return FaultContext(
            self.run.runtime,
            Toxiproxy(api.address, api.ports["api"]),
            PathProbe(topology, key, DEPLOYMENT),
            self._tell,
            Waves(replicas, zero_s, keep),
            keep,
            zero_s,
            self.run.scenario.load.limits.total,
        )

    def _tell(self, kind: str, **data: Any) -> None:
        """Record what a fault tells; whoever watches hears how far it has come."""
        self.run.log.add(kind, **data)
        if kind == "fault_step":
            self.run.progress.say(step_line(data))

    def _learn_model(self, context: FaultContext) -> None:
        """Our own stack serves one deployment; a target's model is named by its owner or by itself."""
        topology = context.topology
        if topology.target is not None:
            context.path.deployment = endpoint.served_model(topology, topology.target)
            self.run.note(f"the target is asked for the model {context.path.deployment}")

    async def _require_answers(self, context: FaultContext) -> None:
        """UsageError for a key or a metrics page of a target that cannot be right: said now, not after the load."""
        target = context.topology.target
        if target is None:
            return
        await context.path.require_key(target, KEY_WITHIN_S)
        if target.metrics is not None:
            await engine.require_metrics(target.metrics)

    def _switch_on(self, context: FaultContext) -> None:
        """The run's switches of the simulator. They end with the run, whatever ends it: the undo comes first."""
        for replica, switches in defects.by_replica(self.run.switches).items():
            self.journal.will_need(simulator.undo(replica))
            simulator.switch_on(context, replica, switches)
            self.run.note(f"defect of {replica}: {', '.join(f'{name} = {value}' for name, value in switches.items())}")

    async def _stack_lost(self) -> None:
        """StackError as soon as somebody takes the stack of this run down."""
        folder = state.instance_folder(self.run.runtime.topology)
        while True:
            if self._context is not None and (who := ends.takes_down(folder)):
                self._taken_down = True
                raise StackError(f"the stack of this run was taken down: {who}")
            await asyncio.sleep(ends.LOOK_EVERY_S)

    # ── probes and load ──

    def _start_probes(self, context: FaultContext) -> None:
        waves = context.waves.probes if context.waves is not None else ()
        zero_wall_s = self.run.folder.zero_wall_s()
        scene = Scene(self.run.runtime, self.run.log.add, zero_wall_s, own=[context.path.own], waves=waves)
        probes = probes_of(scene)
        self.alerts = next((probe for probe in probes if isinstance(probe, AlertProbe)), None)
        self.sampling.start(probes)
        self.sampling.watch_machine(self.run.runtime)

    async def _start_load(self) -> None:
        run = self.run
        self.load = await generator.start(
            run.folder,
            run.runtime.topology,
            run.scenario.load,
            self.context.path.deployment,
            run.zero_mono_s,
            seed=run.seed,
            request_limits={name: limits.model_dump() for name, limits in request_limits.of(run.scenario).items()},
            drain_s=DRAIN_S,
        )
        await self.load.first_window()
        self.sampling.start([GeneratorProbe(self.load.pid)])
        run.log.add("load_started", rate_per_s=run.scenario.load.per_s)

    async def stop_load(self) -> None:
        """Load off, once; then what checks need to be read again after it."""
        if self.load is None:
            return
        self.run.progress.say("load off; waiting for running streams")
        await self.load.stop(DRAIN_S)
        died = {"why": self.load.death} if self.load.death else {}
        self.run.log.add("load_stopped", status=self.load.ended, ended=self.load.reported_ended, **died)
        if died:
            self.run.progress.say(self.load.death)
        if not self._taken_down:  # else nobody answers any more
            after_load = [reading for check in self.run.checks for reading in check.after_load]
            await self.sampling.read_again(after_load, READ_WITHIN_S)
        self.load = None

    # ── the way out ──

    async def leave(self) -> list[Exception]:
        """What is injected is rolled back, load and probes stop, logs are collected: each is tried, whatever the others
        raise, and what they raise is recorded. What of it is a bug of the harness is returned.
        """
        bugs: list[Exception] = []

        def failed(error: Exception) -> None:
            problem = f"{type(error).__name__}: {error}"
            self.run.log.add("cleanup_problem", why=problem)
            self.run.progress.say(f"clean-up: {problem}")
            if ends.first_known(error) is None:
                bugs.append(error)

        parts = (
            *self.before_heal, self._heal_everything, self.stop_load, self.sampling.end, self.sampling.close,
            self._collect_logs, self._finish_requests,
        )  # fmt: skip
        await try_each(parts, failed)
        self.run.progress.end()
        return bugs

    async def _heal_everything(self) -> None:
        if self._context is None or not (entries := self.journal.open_entries()):
            return
        if self._taken_down and await self._stack_ended():
            for undo in entries:
                heal.gone_with_the_stack(self.journal, undo, self.run.log)
            return
        began, context = self.now_s(), heal.here(self._context.topology)
        everything = (context, self.journal, self.run.log, HEAL_DEADLINE_S, "the harness")
        if problems := await asyncio.to_thread(heal.take_everything_back, *everything):
            raise FaultError("still injected: " + "; ".join(problems))
        took_s = self.now_s() - began
        self.run.progress.say(f"healed: all that was injected ({len(entries)}) was rolled back in {took_s:.1f} s")

    async def _stack_ended(self) -> bool:
        """Wait until whoever takes the stack down has done so: every fault ends with it. False if it takes too long."""
        folder, give_up = state.instance_folder(self.run.runtime.topology), self.now_s() + HEAL_DEADLINE_S
        while self.now_s() < give_up:
            if state.load(folder) is None:
                return True
            await asyncio.sleep(0.1)
        return False

    async def _collect_logs(self) -> None:
        if self._marks is not None:
            with record.writing(self.run.folder.path / "logs"):
                await asyncio.to_thread(self._marks.collect, self.run.runtime, self.run.folder)

    async def _finish_requests(self) -> None:
        await asyncio.to_thread(finish_requests, self.run.folder, self.run.scenario)

    # ── what goes on ──

    @property
    def context(self) -> FaultContext:
        """What faults act on; there once the session has begun."""
        assert self._context is not None, "phases run after the stack is up"
        return self._context

    def now_s(self) -> float:
        """Seconds since the run's zero."""
        return self.run.log.now_s()

    def windows_since(self, t_s: float) -> list[Window]:
        """What the load generator has reported since then; nothing without load."""
        return [] if self.load is None else [window for window in self.load.windows if window.t_s > t_s]

    def tick(self, what: str, left_s: float) -> None:
        """Show what is waited for, and the load meanwhile. Raises what ``check_recording`` does."""
        self.check_recording()
        self.run.progress.tick(what, left_s, self.windows_since(self.now_s() - 2.0))

    def check_recording(self) -> None:
        """RecordError when events cannot be written, StackError when the load generator has ended."""
        if self.run.log.failed is not None:
            raise self.run.log.failed
        if self.load is not None and self.load.ended is not None:
            raise StackError(self.load.death or "the load generator ended by itself: see logs/load.log of the run")
        if self.load is not None and self.load.silent:
            raise StackError(f"the load generator has not reported for {LEASE_S:g} s: it is stopped, or hangs")
