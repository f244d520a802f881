"""Measures the capacity of a live stack with the load generator of the drills (docs/metrics.md, «Capacity»).

One generator runs all the while, in the closed model; how many of its users ask at a time is changed from step to step.
What it records is read while it runs. One folder holds all of it, as that of a run does, so that whatever is injected
(a drained replica) is in an undo journal, and a watchdog heals when this process is killed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import math
import shutil
import signal
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from harness.adapters.gateway import connect
from harness.adapters.load import LoadProcess
from harness.evidence import interference, record
from harness.evidence.attempts import end_s
from harness.evidence.record import EventLog, RunFolder
from harness.evidence.view import RunView
from harness.faults.base import FaultContext, take_back, to_the_end
from harness.judge import capacity
from harness.judge.capacity import Capacity, Measured, Search, Signals, Step
from harness.load.recorder import FLUSH_S, rows_so_far
from harness.model.errors import DrillyardError, FaultError, StackError
from harness.model.journal import Journal, Undo
from harness.model.scenario import LoadSpec, Scenario
from harness.model.topology import Topology
from harness.probes import engine, gateway, machine
from harness.probes.base import Scene
from harness.probes.generator import GeneratorProbe
from harness.probes.page import NoAnswer
from harness.recover import doctor, heal
from harness.recover.watchdog import Watchdog
from harness.run import generator
from harness.run.ends import catching, first_known
from harness.run.progress import Progress
from harness.run.sampling import Sampling
from harness.run.tasks import try_each
from stack import engines, state
from stack import keys as stack_keys
from stack.runtimes import priority
from stack.runtimes.base import Runtime

#: The documented bound of one measurement on a stack that is up; ``Pace`` keeps it.
WITHIN_S = 90.0
WITHIN = f"{WITHIN_S:g} s at most"
#: Until a step's users are all under way, and those of the last one have their answers.
WARM_UP_S = 1.5
#: One stream is no step that has to hold: so many requests give its speed.
SINGLE_REQUESTS = 10
#: A drained replica has let go of its last request within this.
DRAINED_WITHIN_S = 5.0
HEAL_WITHIN_S = 20.0
DRAIN_S = 2.0
_LOOK_S = 0.5
_HITS = {"vllm:prefix_cache_hits_total": "hits", "vllm:prefix_cache_queries_total": "queries"}
#: Says why more steps are of no use, given what is known so far; None while they are.
Hopeless = Callable[[Capacity], str | None]


@dataclass(frozen=True)
class Pace:
    """Durations of a measurement, in seconds; the defaults are those of docs/metrics.md, tests use shorter ones."""

    requests: int = capacity.STEP_REQUESTS  # that end a step, between step_s_min and step_s_max
    step_s_min: float = capacity.STEP_S_MIN
    step_s_max: float = capacity.STEP_S_MAX
    #: The steps for all replicas together, and a second one of those for one fewer, begin within this.
    whole_s: float = 45.0
    all_s: float = 70.0


@dataclass(frozen=True)
class Order:
    """What to measure, and what it is measured with."""

    runtime: Runtime
    lock: int  # file descriptor of the stack's lock
    progress: Progress
    marks: Mapping[str, Any]
    defects: Sequence[str] = ()
    hopeless: Hopeless = lambda known: None
    pace: Pace = Pace()


def measure(order: Order) -> Capacity:
    """One measuring of the stack, which is brought up if need be. StackError, FaultError; KeyboardInterrupt when ended.

    Whatever happens, all replicas are in use again afterwards.
    """
    folder = _folder(order.runtime.topology)
    log = EventLog(folder, float(folder.plan()["anchor"]["mono_s"]))
    niceness = priority.of_harness(order.runtime.name)
    try:
        with Watchdog(folder, order.lock) as watchdog, priority.own_session(niceness):
            journal = Journal(folder.path / "undo.jsonl", watchdog.tell)
            meter = _Meter(order, folder, log, journal, Sampling(folder, log))
            return capacity.judge(asyncio.run(_interruptible(meter)))
    finally:
        log.close()
        order.progress.end()


def load_spec(users: int) -> LoadSpec:
    """The default cohort, in the closed model, with hardly any time to think and no second tries."""
    return LoadSpec.model_validate(
        {
            "model": "closed",
            "arrivals": "constant",
            "rate": "1000/s",
            "cohorts": [{"name": "chat", "users": users, "prompts": "eval", "max_tokens": 48}],
            "limits": {"connect": "2s", "first_token": "12s", "idle": "12s", "total": "30s"},
            "retries": {"max": 0},
        }
    )


def _folder(topology: Topology) -> RunFolder:
    """A fresh folder beside the stack's own, written like a run's."""
    path = state.instance_folder(topology) / "capacity"
    shutil.rmtree(path, ignore_errors=True)
    (path / "logs").mkdir(parents=True)
    folder = RunFolder(path)
    phase = {"name": "capacity", "kind": "baseline", "duration": 1.0}
    load = load_spec(1).model_dump(mode="json")
    scenario = Scenario.stored({"name": "capacity", "description": "closed loop", "load": load, "phases": [phase]})
    folder.write_json(
        "plan.json",
        {
            "schema": record.SCHEMA_VERSION,
            "run_id": "capacity",
            "drill": record.CAPACITY,
            "scenario": scenario.model_dump(mode="json"),
            "anchor": record.anchor(),
            "instance": topology.instance,
            "topology": topology.as_data(),
        },
    )
    return folder


async def _interruptible(meter: _Meter) -> Measured:
    """A signal ends it as soon as everything is rolled back. KeyboardInterrupt then."""
    task = asyncio.create_task(meter.measured())

    def end(_: signal.Signals) -> None:
        if not (meter.ended or meter.finishing):  # it would end what takes everything back
            task.cancel()
        meter.ended = True

    with catching(end, meter.order.progress.say):
        try:
            found = await task
        except (asyncio.CancelledError, DrillyardError) as error:
            if not meter.ended:
                raise
            if isinstance(error, FaultError):  # what is still injected
                meter.order.progress.say(str(error))
        if meter.ended:
            raise KeyboardInterrupt
        return found


@dataclass
class _Meter:
    order: Order
    folder: RunFolder
    log: EventLog
    journal: Journal
    sampling: Sampling
    load: LoadProcess | None = None
    context: FaultContext | None = None
    single: Step | None = None
    whole: list[Step] = field(default_factory=list)
    without: list[Step] = field(default_factory=list)
    stopped: str = ""
    unfinished: bool = False
    ended: bool = False  # by a signal
    finishing: bool = False  # everything is rolled back

    @property
    def topology(self) -> Topology:
        return self.order.runtime.topology

    @property
    def replicas(self) -> list[str]:
        return [c.name for c in self.topology.components if c.role == "replica"]

    async def measured(self) -> Measured:
        """Stack up, load on, one stream, all replicas, one fewer, load off."""
        say = self.order.progress.say
        await asyncio.to_thread(doctor.repair_for, self.folder, say)
        await asyncio.to_thread(self.order.runtime.up, self._say_unless_ended)
        say(f"measuring the capacity of this stack: one stream, then more until it does not hold, {WITHIN}")
        self.context = heal.context(self.order.runtime)
        before = await self._cache()
        try:
            await self._start()
            await self._steps()
            after = await self._cache()
        finally:
            await self._finish()
        weigh = _weighed(RunView(self.folder))
        return Measured(
            [weigh(step) for step in self.whole],
            [weigh(step) for step in self.without],
            weigh(self.single) if self.single else None,
            _hit_ratio(before, after),
            dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            defects=self.order.defects,
            stopped=self.stopped,
            unfinished=self.unfinished,
            marks=self.order.marks,
        )

    def _say_unless_ended(self, text: str) -> None:
        # Bringing a stack up blocks in a thread; its messages are where an interruption can reach it.
        if self.ended:
            raise StackError("interrupted while the stack was coming up")
        self.order.progress.say(text)

    async def _start(self) -> None:
        load = load_spec(len(stack_keys.load_or_create(state.instance_folder(self.topology)).users))
        self.load = await generator.start(
            self.folder,
            self.topology,
            load,
            engines.DEPLOYMENT,
            self.log.zero_mono_s,
            seed=1,
            drain_s=DRAIN_S,
            users_first=1,
        )
        await self.load.first_window()
        scene = Scene(self.order.runtime)
        probes = [*engine.PROBES.of(scene), *gateway.PROBES.of(scene), GeneratorProbe(self.load.pid)]
        self.sampling.start(probes)
        self.sampling.watch_machine(self.order.runtime)

    async def _steps(self) -> None:
        began = self._now()
        self.single = await self._step(1, len(self.replicas), min(SINGLE_REQUESTS, self.order.pace.requests))
        self._tell(self.single, "one stream")
        places = self.topology.gateway_policy.replica_max_connections * len(self.replicas)
        keys = len(stack_keys.load_or_create(state.instance_folder(self.topology)).users)
        search = Search(2 * len(self.replicas), min(keys, places))
        search.saw(self.single)
        while (wanted := search.next()) is not None:
            if self._now() - began > self.order.pace.whole_s:
                self.unfinished = True
                break
            step = await self._step(wanted, len(self.replicas))
            self.whole.append(step)
            self._tell(step, "all replicas")
            search.saw(step)
            if not step.holds and (why := self.order.hopeless(self._known())):
                self.stopped = why
                return
        known = self._known().whole
        if known is not None and len(self.replicas) > 1:
            await self._with_one_fewer(known.concurrency, began)

    def _known(self) -> Capacity:
        return capacity.judge(Measured(self.whole, self.without, self.single, None, ""))

    async def _with_one_fewer(self, concurrency: int, began: float) -> None:
        """Two steps around the estimate, with the last replica drained at every gateway."""
        count = len(self.replicas) - 1
        await self._drain(self.replicas[-1])
        wanted = max(1, round(concurrency * count / (count + 1)))
        step = await self._step(wanted, count)
        self.without.append(step)
        self._tell(step, "one replica fewer")
        another = min(concurrency, math.ceil(1.5 * wanted)) if step.holds else max(1, math.floor(wanted / 1.5))
        if another != wanted and self._now() - began < self.order.pace.all_s:
            self.without.append(await self._step(another, count))
            self._tell(self.without[-1], "one replica fewer")
        await self._heal()

    # ── one step ──

    async def _step(self, concurrency: int, replicas: int, requests: int | None = None) -> Step:
        assert self.load is not None
        pace = self.order.pace
        wanted = pace.requests if requests is None else requests
        await self.load.users(concurrency)
        set_at = self._now()
        await asyncio.sleep(WARM_UP_S)
        begin, seen = self._now(), Signals()
        busy: list[float] = []
        while True:
            await asyncio.sleep(_LOOK_S)
            if self.load.ended is not None:
                raise StackError(f"the load generator died: see {self.folder.path / 'logs' / 'load.log'}")
            seen = _higher(seen, self._signals())
            busy += self._busy()
            rows = ended(rows_so_far(self.folder.path).to_pandas(), begin)
            end = max([*rows["end_s"].tail(1), self._now() - 1.5 * FLUSH_S])
            enough = len(rows) >= wanted and end - begin >= pace.step_s_min
            left = pace.step_s_max - (self._now() - begin)
            recent = list(self.load.windows)[-4:]
            self.order.progress.tick(f"capacity: {concurrency} at a time, {len(rows)} requests", left, recent)
            if rows["outcome"].eq("not_sent").any():
                raise StackError(
                    "the load generator could not send its requests: the step would measure it, not the stack"
                )
            if enough or left <= 0:
                seen = replace(seen, busy=statistics.fmean(busy) if busy else None)
                shape = Step(concurrency, begin, end, 0, 0, 0, 0, replicas, signals=seen)
                return summed(rows, shape, set_at, known_answers=self._answers_known())

    def _answers_known(self) -> bool:
        """Whether the questions are those that the served models have learned."""
        return engines.ours(self.topology.engine).issuperset(self.topology.models.values())

    def _signals(self) -> Signals:
        found: dict[str, list[float]] = {}
        for (_, metric, _), value in self.sampling.latest.items():
            found.setdefault(metric, []).append(value)
        lags = [w.schedule_lag_p99_ms for w in list(self.load.windows)[-2:]] if self.load else []
        return Signals(
            engine_waiting=sum(found["waiting"]) if "waiting" in found else None,
            kv_usage=max(found["kv_usage_ratio"]) if "kv_usage_ratio" in found else None,
            gateway_queue=sum(found["queue_current"]) if "queue_current" in found else None,
            generator_cpu=max(found["cpu_ratio"]) if "cpu_ratio" in found else None,
            lag_p99_ms=max((lag for lag in lags if lag is not None), default=None),
        )

    def _busy(self) -> list[float]:
        """The share of the processors in use, 0–1, by the meter's latest sample; empty before the first."""
        latest = self.sampling.latest
        busy, cores = (latest.get((interference.COMPONENT, name, "")) for name in ("busy_cores", "cores"))
        return [] if busy is None or not cores else [min(1.0, busy / cores)]

    def _tell(self, step: Step, what: str) -> None:
        self.log.add("capacity_step", what=what, holds=step.holds, step=step)
        if step is self.single:
            ttft = "none" if step.ttft_ms is None else f"{step.ttft_ms:.0f} ms"
            self.order.progress.say(f"one stream: {step.rate_per_s:.3g}/s, TTFT {ttft}")
            return
        held = "holds" if step.holds else f"does not hold ({capacity.reason(step)})"
        self.order.progress.say(f"{what}, {step.concurrency} at a time: {step.rate_per_s:.3g}/s, {held}")

    # ── one replica fewer ──

    async def _drain(self, replica: str) -> None:
        gateways = [connect(self.order.runtime, c.name) for c in self.topology.components if c.role == "gateway"]
        servers = []
        for one in gateways:
            before = (await asyncio.to_thread(one.servers))[replica]
            found = {"state": before.state, "weight": before.weight}
            servers.append({"gateway": one.gateway, "replica": replica, **found})
        self.journal.will_need(Undo(f"capacity/drain/{replica}", "restore_servers", {"servers": servers}, "capacity"))
        for one in gateways:
            await to_the_end(one.set_state, replica, "drain")
        give_up = self._now() + DRAINED_WITHIN_S
        while self._now() < give_up:
            sessions = [(await asyncio.to_thread(one.sessions)).get(replica, 0) for one in gateways]
            if not any(sessions):
                return
            await asyncio.sleep(0.25)

    async def _heal(self) -> None:
        assert self.context is not None
        for undo in self.journal.open_entries():
            await to_the_end(take_back, self.context, undo)
            self.journal.done(undo)

    async def _finish(self) -> None:
        """Everything back, load off, probes off; each whatever became of the others. FaultError, or what is a bug."""
        self.finishing = True
        problems: list[Exception] = []
        parts = (self._heal_everything, self._stop_load, self.sampling.end, self.sampling.close)
        await try_each(parts, problems.append)
        if problems:
            together = ExceptionGroup("while everything was rolled back", problems)
            raise together if first_known(together) is None else FaultError("; ".join(map(str, problems)))

    async def _heal_everything(self) -> None:
        assert self.context is not None
        everything = (self.context, self.journal, self.log, HEAL_WITHIN_S, "the harness")
        if left := await asyncio.to_thread(heal.take_everything_back, *everything):
            raise FaultError("still injected: " + "; ".join(left))

    async def _stop_load(self) -> None:
        if self.load is not None:
            await self.load.stop(DRAIN_S)

    # ── small things ──

    async def _cache(self) -> dict[str, float]:
        """Hits and queries of all prefix caches; empty where an engine does not show them."""
        total: dict[str, float] = {}
        for name in self.replicas:
            page = engine.page_of(self.topology.component(name), _HITS, deadline_s=5.0)
            try:
                text = (await page.get()).text
            except NoAnswer:
                continue
            finally:
                page.close()
            for (metric, _), value in engine.parse(text, _HITS).items():
                total[metric] = total.get(metric, 0.0) + value
        return total

    def _now(self) -> float:
        return self.log.now_s()


def _weighed(view: RunView) -> Callable[[Step], Step]:
    """A function that adds to a step the share of the machine that others used; unchanged where that is unknown."""
    if not interference.known(view) or any(machine.ENDED in e.data["unread"] for e in view.events("machine_unread")):
        return lambda step: step
    spans, cores = interference.spans(view), float(view.metrics(interference.COMPONENT, "cores")["value"].max())
    if not cores > 0:  # not read: no share of it is known
        return lambda step: step
    return lambda step: dataclasses.replace(step, lost=interference.lost_share(spans, step.begin_s, step.end_s, cores))


def _hit_ratio(before: Mapping[str, float], after: Mapping[str, float]) -> float | None:
    queries = after.get("queries", 0.0) - before.get("queries", 0.0)
    return (after.get("hits", 0.0) - before.get("hits", 0.0)) / queries if queries > 0 else None


def _higher(one: Signals, other: Signals) -> Signals:
    """The higher of each."""
    pairs = {name: [v for v in (value, getattr(other, name)) if v is not None] for name, value in vars(one).items()}
    return Signals(**{name: max(values, default=None) for name, values in pairs.items()})


def ended(rows: pd.DataFrame, begin_s: float) -> pd.DataFrame:
    """The final attempts that ended after ``begin_s``, by their end, which is ``end_s``."""
    rows = rows[rows["final"].eq(True) & rows["e2e_ms"].notna()]
    rows = rows.assign(end_s=end_s(rows))
    return rows[rows["end_s"] >= begin_s].sort_values("end_s")


def summed(rows: pd.DataFrame, shape: Step, set_at_s: float, known_answers: bool) -> Step:
    """The step of these rows (``ended``). Throughput counts all that ended in it; whether it holds, those begun in it.

    The first requests after a change were begun under the load before, so they say nothing about this one's limits.
    """
    rows = rows[rows["end_s"] <= shape.end_s]
    own = rows[rows["start_s"] >= set_at_s]
    served = rows[rows["outcome"].eq("ok")]
    good = own[own["outcome"].eq("ok")]
    # Waiting times in queues are not known while it runs, so they count as execution: the stricter way round.
    execution = good["e2e_ms"]
    within = good["ttft_ms"].le(capacity.TTFT_MS_MAX) & good["e2e_ms"].le(capacity.E2E_MS_MAX)
    within &= execution.le(capacity.EXECUTION_MS_MAX)
    decoding_s = (served["e2e_ms"] - served["ttft_ms"]) / 1000
    tps = (served["output_tokens"] / decoding_s)[decoding_s > 0].dropna()
    wrong = served["answer_correct"].eq(False) & served["finish_reason"].eq("stop")
    counts = served["replica"].value_counts()
    return Step(
        concurrency=shape.concurrency,
        begin_s=shape.begin_s,
        end_s=shape.end_s,
        ended=len(own),
        served=len(served),
        good=int(within.sum()),
        tokens=int(served["output_tokens"].fillna(0).sum()),
        replicas=shape.replicas,
        by_replica={str(name): int(count) for name, count in counts.items()},
        wrong=int(wrong.sum()) if known_answers else None,
        ttft_ms=None if served["ttft_ms"].dropna().empty else float(served["ttft_ms"].median()),
        tps=None if tps.empty else float(tps.median()),
        refused=int(own["outcome"].isin(["shed_429", "shed_503"]).sum()),
        signals=shape.signals,
    )
