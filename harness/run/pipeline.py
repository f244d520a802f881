"""One drill, from the command to the page: read ``STEPS`` first.

Three saves: the plan before anything is touched, the records when load is off, the verdict when they are judged. A
stored run can be judged and rendered again at any time (``judge``, ``report``).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import importlib.metadata
import os
import platform
import random
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.evidence import record, records_kept
from harness.evidence.record import EventLog, RunFolder
from harness.evidence.view import RunView
from harness.judge import capacity, drill, verdicts
from harness.judge.capacity import Capacity
from harness.model import digest
from harness.model.arrivals import default_users
from harness.model.errors import DrillyardError, Interrupted, RecordError, RunFolderError, UsageError
from harness.model.scenario import Scenario, Share
from harness.model.topology import DNS_POLICY, Topology
from harness.model.verdict import Status, Verdict
from harness.plan import capacity_store, defects, dryrun, fitting, guard, loading, planned
from harness.plan.fitting import Fitted
from harness.plan.options import StackOptions
from harness.plan.runtime import admitted, chosen
from harness.plan.stop_conditions import EXTERNAL_DEFAULT
from harness.recover import lock
from harness.recover.watchdog import Watchdog
from harness.run import measuring, timeline
from harness.run.progress import Progress
from harness.run.run import Run
from reports import render, since
from stack import keys as stack_keys
from stack import state
from stack.commands import ENGINE_NICENESS
from stack.runtimes import priority
from stack.runtimes.base import Runtime

ROOT = drill.ROOT
#: Packages whose versions shape what a run measures.
VERSIONED = ("locust", "gevent", "geventhttpclient", "pandas", "pyarrow", "toxiproxy-python", "docker", "supervisor")


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    drill: str
    stack: StackOptions
    command: str  # as it can be typed again
    scenario: Path | None = None
    seed: int | None = None
    overrides: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()  # as the user wrote them; those of the stack are in ``stack``, too


@dataclass
class Job:
    """What the steps hand on to each other; each fills in its part."""

    options: Options
    progress: Progress
    cleanup: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    drill: drill.Drill | None = None
    scenario: Scenario | None = None
    written: dict[str, Any] = field(default_factory=dict)  # the scenario before it was fitted to this machine
    runtime: Runtime | None = None
    why_runtime: str = ""
    capacity: dict[str, Any] = field(default_factory=dict)  # what is known of it, and what the scenario made of that
    fitted: Fitted | None = None  # where the scenario asks for a share of capacity
    unfit: str = ""  # why it could not be fitted
    folder: RunFolder | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    view: RunView | None = None  # of what was recorded
    verdict: Verdict | None = None
    lock: int = -1  # file descriptor; whoever inherits it keeps others from the stack
    notes: list[str] = field(default_factory=list)  # what happened before there was a log
    caught: list[signal.Signals] = field(default_factory=list)  # what interrupted it
    bug: Exception | None = None  # what the harness itself stumbled over while conducting
    unwritten: list[RecordError] = field(default_factory=list)  # records that could not be written


def run(options: Options, progress: Progress) -> int:
    """Do all steps; the exit code of the verdict (0 PASS, 1 FAIL, 2 INCONCLUSIVE), 130 when interrupted."""
    job = Job(options, progress)
    try:
        with job.cleanup:
            for step in STEPS:
                step(job)
        return _conclude(job)
    except Exception as error:
        if job.caught:
            if not isinstance(error, DrillyardError):
                with contextlib.suppress(OSError):
                    traceback.print_exc()  # a bug, for its report
            raise Interrupted(f"the run was interrupted; after that: {type(error).__name__}: {error}") from error
        if isinstance(error, BrokenPipeError):  # not of our output, which is given up where nobody reads it
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise


def resolve(job: Job) -> None:
    """Drill, scenario, runtime and its preconditions: everything that can be wrong before anything is touched."""
    job.drill = drill.load(job.options.drill)
    job.runtime, job.why_runtime = chosen(job.options.stack)
    _check_defects(job.options.defects, job.runtime.topology)
    job.scenario = _scenario(job.options, job.drill, job.runtime.topology, job.notes.append)
    planned.require_able(job.scenario, job.runtime)
    job.runtime.preflight()
    folder = state.instance_folder(job.runtime.topology)
    holder = f"a run of {job.drill.name}"
    job.lock = job.cleanup.enter_context(lock.held(folder / lock.RUN, holder, job.notes.append))


def _scenario(options: Options, wanted: drill.Drill, topology: Topology, say: Callable[[str], object]) -> Scenario:
    """The file that the user named, else the drill's own for this runtime, else the drill's own.

    On an external target it has a stop condition: one is put in where there is none, and said.
    """
    special = drill.scenario_file(f"{wanted.scenario}.{topology.runtime}")
    path = options.scenario or (special if special.exists() else drill.scenario_file(wanted.scenario))
    scenario = planned.taught(loading.load(path, options.overrides, topology), topology, say)
    if (owner := _owner(scenario.name)) not in (None, wanted.name):
        raise UsageError(
            f"{path}: found {scenario.name}, a scenario of the drill {owner}, expected one of {wanted.name}: "
            f"run {owner}, or give a scenario of your own its own name"
        )
    if topology.target is None:
        if not scenario.partial and (why := verdicts.unanswerable(wanted, scenario)):
            raise UsageError(
                f"{path}: {why}. Give the scenario the phases and faults of the drill, or say `partial: true` in it: "
                "then what has no phase is INCONCLUSIVE"
            )
        return scenario
    if scenario.abort_when:
        return scenario
    say(f"the scenario has no stop condition, which an external target needs: {EXTERNAL_DEFAULT} is put in")
    return scenario.model_copy(update={"abort_when": (EXTERNAL_DEFAULT,)})


def _owner(scenario: str) -> str | None:
    """The drill that a scenario is of, by its name (``model-swap-bad`` is of model-swap); None: one of the user's."""
    names = sorted(drill.names(), key=len, reverse=True)
    return next((name for name in names if scenario == name or scenario.startswith((f"{name}-", f"{name}."))), None)


def fit(job: Job) -> None:
    """A share of capacity becomes absolute numbers; where none is accepted on this machine, capacity is measured."""
    assert job.scenario and job.runtime
    topology, share = job.runtime.topology, job.scenario.load.rate
    job.written = job.scenario.model_dump(mode="json")
    if topology.target is not None:
        return
    store, machine = capacity_store.store_of(topology), capacity_store.machine(topology.runtime, topology.engine)
    entry = store.load()
    used = entry.accepted
    if isinstance(share, Share):
        try:
            used = entry.accepted or _measured(job, job.scenario, share)
            needs = _needs(job.drill, job.scenario, topology)
            job.fitted = fitting.fit(job.scenario, share, used, topology.gateway_policy, machine.cores, needs)
            job.scenario = job.fitted.scenario
        except DrillyardError as error:  # told in the report, as whatever keeps a stack from coming up
            job.unfit = f"capacity could not be measured: {error}"
    last = store.load().last
    job.capacity = {
        "machine": str(machine),
        "used": None if used is None else capacity.as_data(used),
        "measured": None if last is None else capacity.as_data(last),
        "regression": entry.regression,
        "asked": str(share) if isinstance(share, Share) else None,
        "fitted": None if job.fitted is None else {"notes": job.fitted.notes, **job.fitted.numbers},
    }
    job.notes += [*(job.fitted.notes if job.fitted else ()), *([entry.regression] if entry.regression else ())]


def _measured(job: Job, scenario: Scenario, share: Share) -> Capacity:
    """Measure, keep and return it: accepted where it is sound, for this run only where it is provisional."""
    assert job.runtime
    topology = job.runtime.topology
    needs = _needs(job.drill, scenario, topology)
    cores = capacity_store.machine(topology.runtime, topology.engine).cores
    job.progress.say(
        f"the load is {share}, and none is accepted for this machine yet: it is measured, in {measuring.WITHIN}"
    )
    order = measuring.Order(
        job.runtime, job.lock, job.progress, marks(topology), sorted(topology.defects),
        lambda known: fitting.hopeless(scenario, share, known, cores, needs),
    )  # fmt: skip
    found = measuring.measure(order)
    store = capacity_store.store_of(topology)
    store.save(store.load().after(found))
    doubts = f"provisional, for this run only: {'; '.join(found.provisional)}" if found.provisional else "accepted"
    job.notes.append(f"capacity {doubts}")
    return found


def _needs(wanted: drill.Drill | None, scenario: Scenario, topology: Topology) -> fitting.Needs:
    """What the drill's checks need of each replica of that stack; a load without a drill is asked nothing."""
    checks = () if wanted is None else verdicts.checks(wanted, phases=scenario.phases)
    return fitting.Needs.of(checks, len(topology.replicas))


def marks(topology: Topology) -> dict[str, Any]:
    """What a capacity was measured with."""
    return {
        "versions": versions(),
        "models": dict(topology.models),
        "gateway_policy": vars(topology.gateway_policy),
        "commit": git_state()["commit"],
    }


def dry_run(options: Options) -> int:
    """Print what a run would do. Nothing is touched: no folder, process, file or connection; no name is resolved."""
    wanted, runtime = drill.load(options.drill), options.stack.runtime
    topology = replace(admitted(options.stack, guard.unresolved), runtime="process" if runtime == "auto" else runtime)
    _check_defects(options.defects, topology)
    where = "auto (docker if its daemon answers, else process)" if runtime == "auto" else runtime
    scenario, notes = _dry_fit(wanted, _scenario(options, wanted, topology, print), topology)
    print(dryrun.text(wanted, scenario, topology, where, notes))
    return 0


def _dry_fit(wanted: drill.Drill, scenario: Scenario, topology: Topology) -> tuple[Scenario, list[str]]:
    """The scenario as it would be run, and what is to be said of its load and the capacity of this machine."""
    share = scenario.load.rate
    if topology.target is not None:
        return scenario, []
    store = capacity_store.store_of(topology)
    entry = store.load()
    known = capacity_store.lines(store, entry)
    if not isinstance(share, Share):
        return scenario, known
    if entry.accepted is None:
        return scenario, [
            f"none is accepted for this machine yet: it will be measured before the run, in {measuring.WITHIN}"
        ]
    needs = _needs(wanted, scenario, topology)
    fitted = fitting.fit(scenario, share, entry.accepted, topology.gateway_policy, store.machine.cores, needs)
    return fitted.scenario, [fitted.too_small] if fitted.too_small else [*fitted.notes, *known]


def _check_defects(given: Sequence[str], topology: Topology) -> None:
    """UsageError for what cannot be switched on there: a defect that is not would be one that nobody noticed."""
    if given and topology.target is not None:
        raise UsageError(f"--defect {given[0]}: only what Drillyard started can be broken so, not a target")
    _, switches = defects.sorted_out(given, topology.replicas)
    if switches and topology.runtime != "process":
        raise UsageError(f"--defect {switches[0].text}: switches are taken over loopback only, so RUNTIME=process")


def plan(job: Job) -> None:
    """Save 0: what will be done."""
    assert job.drill and job.scenario and job.runtime
    seed = job.options.seed if job.options.seed is not None else random.SystemRandom().randrange(2**31)
    run_id = f"{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}-{job.drill.name}-{seed % 0x10000:04x}"
    job.folder = RunFolder.create(ROOT / "runs", run_id)
    run_id = job.folder.path.name
    job.plan = {
        "schema": record.SCHEMA_VERSION,
        "run_id": run_id,
        "seed": seed,
        "command": f"{job.options.command} --seed {seed}" if job.options.seed is None else job.options.command,
        **_of_drill(job),
        **_of_stack(job),
        **_of_host(job.runtime.topology),
        "anchor": record.anchor(),
    }
    job.folder.write_json("plan.json", dict(job.plan))
    topology = job.runtime.topology
    job.progress.say(f"run {run_id}  runtime {topology.runtime} ({job.why_runtime})  engine {topology.engine}")
    if topology.target is not None:
        job.progress.say(guard.sentence(topology.target))


def _of_drill(job: Job) -> dict[str, Any]:
    """What of the plan is about the drill: what is believed, done and asked."""
    assert job.drill and job.scenario and job.runtime
    topology = job.runtime.topology
    return {
        "drill": job.drill.name,
        "title": job.drill.title,
        "hypothesis": job.scenario.description if topology.target else job.drill.hypothesis,
        "runbook": job.drill.runbook,
        "scenario": planned.in_full(job.scenario).model_dump(mode="json"),
        "written": job.written,
        "users": list(_users(topology)),
        "faults": planned.faults(job.scenario, topology),
        "checks": drill.planned(_checks(job)[len(verdicts.INVARIANTS) :]),
        "alerts": [dataclasses.asdict(expected) for expected in job.drill.alerts],
    }


def _of_stack(job: Job) -> dict[str, Any]:
    """What of the plan is about what is drilled."""
    assert job.scenario and job.runtime
    topology = job.runtime.topology
    return {
        "runtime": topology.runtime,
        "runtime_why": job.why_runtime,
        "engine": topology.engine,
        "instance": topology.instance,
        "instance_id": state.identity(state.instance_folder(topology)),
        "topology": topology.as_data(),
        "gateway_policy": {} if topology.target else vars(topology.gateway_policy),
        "dns_policy": {} if topology.target else vars(DNS_POLICY),
        **planned.versions(job.scenario, topology),
        "guard": guard.sentence(topology.target),
        "proxy": guard.route(topology.target),
        "defects": {text: defects.meaning(text) for text in job.options.defects},
        "capacity": job.capacity,
    }


def _of_host(topology: Topology) -> dict[str, Any]:
    """What of the plan is about the machine and the checkout."""
    return {
        "versions": versions(),
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(terse=True),
            **capacity_store.machine(topology.runtime, topology.engine).hardware,
        },
        "niceness": {
            "engines": ENGINE_NICENESS,
            "stack": priority.STACK,
            "harness": priority.of_harness(topology.runtime),
            "load generator": priority.GENERATOR,
        },
        "git": git_state(),
    }


def _users(topology: Topology) -> Iterable[str]:
    """Ids of the users, in order."""
    if topology.target is not None:
        return default_users()
    return sorted(stack_keys.load_or_create(state.instance_folder(topology)).users)


def _checks(job: Job) -> tuple[drill.Check, ...]:
    """All that the run will be asked, the invariants first."""
    assert job.drill and job.scenario and job.runtime
    return verdicts.checks(job.drill, job.runtime.topology.target is not None, job.scenario.phases)


def perform(job: Job) -> None:
    """Conduct the run (save 1). See ``timeline.conduct`` for its steps."""
    assert job.folder and job.scenario and job.runtime
    zero = float(job.plan["anchor"]["mono_s"])
    log = EventLog(job.folder, zero)
    log.add("planned", digest=digest.of_plan(job.folder.plan()))
    for text in job.notes:
        log.add("note", text=text)
        job.progress.say(text)
    if job.unfit or (job.fitted and job.fitted.too_small):
        _not_begun(job, log)
        return
    watchdog = job.cleanup.enter_context(Watchdog(job.folder, job.lock))  # it sees to the verdict, too
    seed = int(job.plan["seed"])
    _, switches = defects.sorted_out(job.options.defects, job.runtime.topology.replicas)
    job.cleanup.enter_context(priority.own_session(priority.of_harness(job.runtime.name)))
    checks = _checks(job)
    run_ = Run(
        job.folder, job.scenario, job.runtime, job.progress, log, seed, zero, watchdog, checks, switches, job.caught
    )
    try:
        asyncio.run(timeline.conduct(run_))
    except Exception as error:
        job.bug = error  # told at the end: what was recorded until then is judged and shown first
    finally:
        if not watchdog.alive:
            log.add("watchdog_died")
        _seal(job, log)


def _not_begun(job: Job, log: EventLog) -> None:
    """Said at once instead of failing minutes later: nothing is begun that this machine cannot carry to its end."""
    if job.fitted is not None and job.fitted.too_small:
        log.add("too_small", why=job.fitted.too_small, **job.fitted.numbers)
    else:
        log.add("aborted", why=job.unfit)
    job.progress.say(job.unfit or str(job.fitted and job.fitted.too_small))
    _seal(job, log)


def _seal(job: Job, log: EventLog) -> None:
    """Nothing more is recorded from here on."""
    assert job.folder
    log.close()
    job.unwritten += [log.failed] if log.failed is not None else []
    with _noting_what_is_not_written(job):
        records_kept.seal(job.folder)


def verdict(job: Job) -> None:
    """Save 2: judge what was recorded."""
    assert job.folder and job.drill
    job.view = RunView(job.folder)
    job.verdict = verdicts.judge(job.folder, job.drill, job.view)
    with _noting_what_is_not_written(job):
        verdicts.write(job.folder, job.verdict)


def page(job: Job) -> None:
    """The report, whatever the verdict."""
    assert job.folder
    with _noting_what_is_not_written(job):
        render.render(job.folder, since.last_good(job.folder), job.view)


@contextlib.contextmanager
def _noting_what_is_not_written(job: Job) -> Iterator[None]:
    """Note a RecordError and go on: on a full disk the exit code and the terminal still give the verdict."""
    try:
        yield
    except RecordError as error:
        job.unwritten.append(error)
    except RunFolderError:
        if not job.unwritten:  # else verdict.json itself could not be written
            raise


STEPS: Sequence[Callable[[Job], None]] = (resolve, fit, plan, perform, verdict, page)


def _conclude(job: Job) -> int:
    assert job.folder and job.verdict
    print_last_lines(job.folder, job.verdict)
    if job.bug is not None:
        raise job.bug
    with contextlib.suppress(OSError):
        for error in job.unwritten:
            print(f"drillyard: {error}", file=sys.stderr)
    if job.caught or any(event.kind == "interrupted" for event in job.folder.events()):
        return Interrupted.exit_code
    if job.verdict.status is Status.INCONCLUSIVE and any(e.data.get("usage") for e in job.folder.events()):
        return UsageError.exit_code
    # Missing records prove nothing, whatever the verdict of the rest is.
    return job.verdict.status.exit_code or (RecordError.exit_code if job.unwritten else 0)


def print_last_lines(folder: RunFolder, found: Verdict) -> None:
    """The reason, what to do about a recorded cause, then the verdict and where the report is."""
    path = folder.path / "report.html"
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    with contextlib.suppress(OSError):  # nobody may be there to read it: the exit code tells the same
        print(found.reason)
        if found.advice:
            print(found.advice)
        print(f"verdict: {found.status}  report: {shown}", flush=True)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape a run."""
    found = {name: importlib.metadata.version(name) for name in VERSIONED}
    return {"python": platform.python_version(), **found}


def git_state() -> dict[str, Any]:
    """Commit and whether the checkout differs from it; nulls outside a git checkout."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    changed = git("status", "--porcelain")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changed is None else bool(changed)}
