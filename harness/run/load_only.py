"""Load without a drill: a scenario's baseline on a stack that runs, for whoever breaks it by hand.

Nothing is injected, judged or repaired, so toxics and pauses that a person has put in place stay. The records go into
``runs/load-<time>/``, in the columns of a run (harness/evidence/record.py); its plan names no drill, and
``runs/latest`` goes on leading to the last drill.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import random
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.adapters.load import LoadProcess, Window
from harness.evidence import record, records_kept
from harness.evidence.record import EventLog, RunFolder
from harness.evidence.view import RunView
from harness.judge import request_limits, sli
from harness.model import sparse
from harness.model.errors import StackError, UsageError
from harness.model.scenario import LONGEST_S, Phase, RequestLimits, Scenario, parse_load
from harness.model.topology import Topology
from harness.plan import loading
from harness.plan.options import StackOptions
from harness.probes.component_logs import LogMarks
from harness.run import ends, generator, pipeline
from harness.run.collect import finish_requests
from harness.run.pipeline import Job, Options
from harness.run.progress import Progress
from harness.run.tasks import try_each
from stack import state
from stack.engines import DEPLOYMENT
from stack.runtimes.base import Runtime

#: Live figures are of so many seconds, and without a terminal there is a line as often.
FIGURES_S = 10.0
EVERY_S = 1.0
DRAIN_S = 5.0
NO_PAUSE = "SIGTSTP: load cannot be paused; press Ctrl-C to end it"


@dataclass(frozen=True)
class Order:
    """Which load to put on which stack. ``lasts_s`` in seconds; without it the load goes on until it is ended."""

    runtime: Runtime
    lock: int  # file descriptor of the stack's lock
    scenario: Scenario  # as ``baseline`` makes it
    limits: Mapping[str, RequestLimits]  # by cohort
    progress: Progress
    command: str
    seed: int | None = None
    lasts_s: float | None = None


def baseline(
    path: Path, topology: Topology, rate: str | None = None, lasts_s: float | None = None
) -> tuple[Scenario, dict[str, RequestLimits]]:
    """The scenario at ``path`` with its first baseline as the only phase and without objectives, which are a drill's;
    and what those of the baseline mean for one request, by cohort.

    ``rate`` is written as in a scenario. UsageError for a rate or a scenario that is wrong, or has no baseline.
    """
    found = loading.load(path, (), topology)
    phase = next((phase for phase in found.phases if phase.kind == "baseline"), None)
    if phase is None:
        raise UsageError(f"{path}: found no phase of kind baseline, expected one: its load is what is put on the stack")
    alone = Phase(name=phase.name, kind=phase.kind, duration=f"{min(lasts_s or LONGEST_S, LONGEST_S):.3f}s")
    load = found.load
    if rate is not None:
        try:
            load = load.model_copy(update={"rate": parse_load(rate)})
        except ValueError as error:
            raise UsageError(f"--rate: {error}") from None
    parts = {"load": load, "phases": (alone,), "slos": (), "abort_when": (), "partial": True}
    return found.model_copy(update=parts), request_limits.of(found)


def put(order: Order, root: Path) -> RunFolder:
    """Put the load on until it is ended; its folder below ``root``. StackError when load or stack end by themselves."""
    topology = order.runtime.topology
    job = Job(
        Options(record.LOAD, StackOptions(topology.runtime, topology.engine, topology.instance), order.command),
        order.progress, scenario=order.scenario, runtime=order.runtime, lock=order.lock,
    )  # fmt: skip
    pipeline.fit(job)
    if problem := job.unfit or (job.fitted.too_small if job.fitted else None):
        raise StackError(f"{problem}; an absolute rate is possible: --rate 2/s")
    for note in job.notes:
        order.progress.say(note)
    folder = _planned(order, job, root)
    log = EventLog(folder, float(folder.plan()["anchor"]["mono_s"]))
    try:
        asyncio.run(_Load(order, job.scenario or order.scenario, folder, log).put())
    finally:
        log.close()
        order.progress.end()
        records_kept.seal(folder)
    return folder


def _planned(order: Order, job: Job, root: Path) -> RunFolder:
    """A folder with its plan."""
    assert job.scenario
    topology = order.runtime.topology
    folder = RunFolder.create(root, f"load-{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}", latest=False)
    plan = {
        "schema": record.SCHEMA_VERSION,
        "run_id": folder.path.name,
        "drill": record.LOAD,
        "title": f"Load of {job.scenario.name}, without a drill",
        "scenario": job.scenario.model_dump(mode="json"),
        "seed": random.SystemRandom().randrange(2**31) if order.seed is None else order.seed,
        "command": order.command,
        "runtime": topology.runtime,
        "engine": topology.engine,
        "instance": topology.instance,
        "instance_id": state.identity(state.instance_folder(topology)),
        "topology": topology.as_data(),
        "gateway_policy": vars(topology.gateway_policy),
        "versions": pipeline.versions(),
        "capacity": job.capacity,
        "git": pipeline.git_state(),
        "anchor": record.anchor(),
    }
    folder.write_json("plan.json", plan)
    return folder


@dataclass
class _Load:
    order: Order
    scenario: Scenario  # fitted
    folder: RunFolder
    log: EventLog
    process: LoadProcess | None = None

    async def put(self) -> None:
        """Load on, figures, load off, records complete: each part of the end whatever became of the others."""
        stop = asyncio.Event()

        def end(number: signal.Signals) -> None:
            self.order.progress.say("already stopping" if stop.is_set() else f"{number.name}: load off")
            stop.set()

        problems: list[Exception] = []
        runtime, in_thread = self.order.runtime, asyncio.to_thread
        with ends.catching(end, self.order.progress.say, NO_PAUSE):
            marks = await in_thread(LogMarks.take, runtime, *runtime.topology.gateways)
            parts = (
                partial(self._on, stop),
                self._off,
                partial(in_thread, marks.collect, runtime, self.folder),
                partial(in_thread, finish_requests, self.folder, self.scenario),
            )
            await try_each(parts, problems.append)
        for problem in problems:
            self.log.add("aborted", why=str(problem))
        if problems:
            raise problems[0] if len(problems) == 1 else ExceptionGroup("while load was put on", problems)

    async def _on(self, stop: asyncio.Event) -> None:
        order, phase = self.order, self.scenario.phases[0]
        self.log.add("phase_started", phase=phase.name, phase_kind=phase.kind)
        self.process = await generator.start(
            self.folder, order.runtime.topology, self.scenario.load, DEPLOYMENT, self.log.zero_mono_s,
            seed=self.folder.plan()["seed"], drain_s=DRAIN_S,
            request_limits={name: limits.model_dump() for name, limits in order.limits.items()},
        )  # fmt: skip
        await self.process.first_window()
        self.log.add("load_started", rate_per_s=self.scenario.load.per_s)
        until_s = self.log.now_s() + (LONGEST_S if order.lasts_s is None else order.lasts_s)
        while not stop.is_set() and (left_s := until_s - self.log.now_s()) > 0:
            self._require_life()
            shown = f"{left_s:.0f} s left  " if order.lasts_s is not None else ""
            order.progress.figures(shown + figures(self._recent()), FIGURES_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(EVERY_S, left_s))

    def _recent(self) -> list[Window]:
        assert self.process is not None
        return [one for one in self.process.windows if one.t_s > self.log.now_s() - FIGURES_S]

    def _require_life(self) -> None:
        """StackError when the generator or the whole stack has gone, RecordError when events cannot be written."""
        assert self.process is not None
        if self.log.failed is not None:
            raise self.log.failed
        if self.process.ended is not None or self.process.silent:
            raise StackError(self.process.death or f"the load generator has gone: see {self.folder.path / 'logs'}")
        if who := ends.takes_down(state.instance_folder(self.order.runtime.topology)):
            raise StackError(f"the stack was taken down: {who}")

    async def _off(self) -> None:
        if self.process is not None:
            await self.process.stop(DRAIN_S)
            died = {"why": self.process.death} if self.process.death else {}
            self.log.add("load_stopped", status=self.process.ended, ended=self.process.reported_ended, **died)
        self.log.add("phase_ended", phase=self.scenario.phases[0].name)


def figures(windows: Sequence[Window]) -> str:
    """Rates, outcomes, TTFT and what is in flight, of these half seconds; the first is only where they begin."""
    if len(windows) < 2:
        return "load on, no figures yet"
    first, *rest = windows
    span_s = rest[-1].t_s - first.t_s
    offered, achieved = rest[-1].scheduled - first.scheduled, sum(window.started for window in rest)
    outcomes: Counter[str] = Counter()
    for window in rest:
        outcomes.update(window.outcomes)
    ttft = sparse.merged(window.ttft_ms for window in rest)
    return (
        f"offered {offered / span_s:.1f}/s, achieved {achieved / span_s:.1f}/s  {outcome_line(outcomes)}  "
        f"{_ttft(sparse.quantile_ms(ttft, 0.5), sparse.quantile_ms(ttft, 0.95), sum(ttft.values()))}  "
        f"in flight {rest[-1].in_flight}"
    )


def outcome_line(outcomes: Mapping[str, int]) -> str:
    """``ok 79  not ok 3: http_5xx 2, timeout_ttft 1``; what was not sent is the load generator's own fault."""
    unsent = outcomes.get("not_sent", 0)
    others = sorted((item for item in outcomes.items() if item[0] not in ("ok", "not_sent") and item[1]), key=_most)
    failed = f"not ok {sum(count for _, count in others)}"
    named = f": {', '.join(f'{name} {count}' for name, count in others)}" if others else ""
    blamed = f"  NOT SENT {unsent} (the load generator's own fault)" if unsent else ""
    return f"ok {outcomes.get('ok', 0)}  {failed}{named}{blamed}"


def _most(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _ttft(p50_ms: float | None, p95_ms: float | None, samples: int) -> str:
    if not samples:
        return "TTFT not measured"
    p50, p95 = ("not measured" if value is None else f"{value:.0f} ms" for value in (p50_ms, p95_ms))
    return f"TTFT p50 {p50}, p95 {p95} ({samples} good requests)"


def summary(folder: RunFolder) -> list[str]:
    """What was put on and what came of it, from the records. RunFolderError when they are not there."""
    done = folder.read_json("load-summary.json")
    view = RunView(folder)
    p50, p95 = (sli.find(f"ttft_p{percent}_ms").measure(view.requests, view) for percent in (50, 95))
    lag = done["schedule_lag_p99_ms"]
    found = [
        f"{done['duration_s']:.0f} s of load: offered {_rate(done['planned_rate_per_s'])}, "
        f"achieved {_rate(done['achieved_rate_per_s'])}, "
        f"schedule lag p99 {'not measured' if lag is None else f'{lag:.0f} ms'}",
        f"{done['scheduled_requests']} requests: {outcome_line(done['outcomes_final'])}  "
        f"in flight at the end {done['in_flight_at_end']}",
        _ttft(p50.value, p95.value, max(p50.samples, p95.samples)),
    ]
    if not done["conserved"]:
        found.append("the records are incomplete: not every request that was scheduled is in them")
    return found


def _rate(per_s: Any) -> str:
    return f"{per_s:.1f}/s" if isinstance(per_s, int | float) and math.isfinite(per_s) else "not measured"
