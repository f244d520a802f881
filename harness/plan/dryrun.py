"""What a run would do, as text: the plan that ``--dry-run`` prints, made without touching anything."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence

from harness.faults import base as faults
from harness.judge import alert_times, objectives, verdicts
from harness.judge.drill import Drill
from harness.model import options
from harness.model.alert_rules import STACK_SCALE
from harness.model.errors import FaultError
from harness.model.scenario import FaultSpec, LoadSpec, Phase, Scenario, Share
from harness.model.topology import DNS_POLICY, POLICIES, Topology
from harness.plan import guard


def text(drill: Drill, scenario: Scenario, topology: Topology, where: str, capacity: Sequence[str] = ()) -> str:
    """The whole plan: where, guard, load, timeline, objectives, checks. ``where`` is the runtime as the user said,
    ``capacity`` what is known of this machine's, and how the load follows from it.
    """
    return "\n".join(
        [
            f"dry run of {drill.name}: {drill.title}",
            "nothing is touched: no run folder, no process, no connection",
            "",
            f"scenario    {scenario.name}: {' '.join(scenario.description.split())}",
            f"runtime     {where}, engine {topology.engine}, instance {topology.instance}, on {topology.host(0)}/24",
            *_target(topology),
            f"guard       {guard.sentence(topology.target)}",
            f"proxy       {guard.route(topology.target)}",
            *load_lines(scenario.load, _seconds(scenario)),
            *(f"capacity    {line}" for line in capacity),
            f"stops when  {'; '.join(map(str, scenario.abort_when)) or 'nothing: it goes on to its end'}",
            "",
            "timeline (a phase before a fault lasts longer while there is no steady state)",
            *_timeline(scenario, topology),
            "",
            "objectives",
            *_objectives(scenario, topology),
            "",
            "checks",
            *_checks(drill, scenario, topology),
        ]
    )


def _target(topology: Topology) -> Iterator[str]:
    if topology.target is None:
        return
    service, metrics = topology.target.service, topology.target.metrics
    key = f"the key in ${topology.target.api_key_env}" if topology.target.api_key_env else "no key"
    yield f"target      {service.scheme}://{service.authority}{service.path}, with {key}"
    yield f"model       {topology.target.model or 'the first that the target lists'}"
    page = f"{metrics.scheme}://{metrics.authority}{metrics.path}" if metrics else "none: the engine cannot be watched"
    yield f"metrics     {page}"


def load_lines(load: LoadSpec, lasts: str) -> Iterator[str]:
    """Who asks for what, how often, and how long they wait."""
    limits, retries = load.limits, load.retries
    rate = str(load.rate) if isinstance(load.rate, Share) else f"{load.rate:g}/s"
    how = f"{load.model}, {load.arrivals}, {rate}"
    yield f"load        {how} for {lasts}, {load.workers} worker(s)"
    for cohort in load.cohorts:
        how = "streamed" if cohort.stream else "in one piece"
        cancel = "" if cohort.cancel_after is None else f", cancelled after {cohort.cancel_after:g} s"
        yield (
            f"            cohort {cohort.name}: share {cohort.share:g}, {cohort.users} users, "
            f"{cohort.prompts} prompts, {cohort.max_tokens} tokens, {how}{cancel}"
        )
    yield (
        f"            clients wait: connect {limits.connect:g} s, first token {limits.first_token:g} s, "
        f"idle {limits.idle:g} s, total {limits.total:g} s"
    )
    yield f"            clients retry: {retries.max} times, base {retries.base:g} s, cap {retries.cap:g} s"


def _timeline(scenario: Scenario, topology: Topology) -> Iterator[str]:
    begin = 0.0
    for phase in scenario.phases:
        end = begin + phase.duration
        yield f"  {begin:6.1f} s – {end:6.1f} s  {phase.name} ({phase.kind})"
        if phase.until is not None:
            what = "its faults have settled" if phase.until == "settled" else "no alert fires any more"
            yield f"      and on until {what}, {phase.longest:g} s at most; the rest comes later then"
        for spec in phase.faults:
            for on in faults.matching(spec.type, spec.on, topology):
                yield from _fault(phase, spec, on)
        begin = end


def _seconds(scenario: Scenario) -> str:
    """How long all phases last together."""
    shortest = sum(phase.duration for phase in scenario.phases)
    longest = sum(phase.longest for phase in scenario.phases)
    return f"{shortest:g} s" if longest == shortest else f"{shortest:g} to {longest:g} s"


def _fault(phase: Phase, spec: FaultSpec, on: str) -> Iterator[str]:
    """One fault on one target; how it is proven and undone in the words of the code that does it."""
    cls = faults.fault_class(spec.type)
    fault = cls(phase.name, on, options.of_spec(spec))
    said = ", ".join(f"{name} {value}" for name, value in spec.options.items()) or "no options"
    yield f"      {spec.type} on {on}: {said}"
    yield f"          proof  {_first_line(fault.run if isinstance(fault, faults.Workload) else fault.verify)}"
    try:
        action = fault.undo().action
        yield f"          undo   {action}: {_first_line(faults.undo_actions()[action])}"
    except FaultError:
        yield "          undo   as the target was found, which is measured before the fault"


def _objectives(scenario: Scenario, topology: Topology) -> Iterator[str]:
    for slo in scenario.slos:
        known = [_policy(name, topology) for name in objectives.names(objectives.parse(slo.objective))]
        filled = f"  ({', '.join(known)})" if known else ""
        cohort = f" of {slo.cohort}" if slo.cohort else ""
        yield f"  {slo.name}: {slo.sli}{cohort} {slo.objective} in {', '.join(slo.phases)}{filled}"


def _policy(name: str, topology: Topology) -> str:
    """A name in an objective with its number where a policy has it; the rest only the run can tell."""
    owner, _, field = name.partition(".")
    if owner not in POLICIES:
        return f"{name} as measured"
    policy = topology.gateway_policy if owner == "gateway" else DNS_POLICY
    if field.endswith("_ms"):
        return f"{name} = {1000 * getattr(policy, field.removesuffix('_ms') + '_s'):g}"
    return f"{name} = {getattr(policy, field)}"


def _checks(drill: Drill, scenario: Scenario, topology: Topology) -> Iterator[str]:
    if topology.target is None:
        asked = verdicts.checks(drill, phases=scenario.phases)
        yield from (f"  {check.name}: {check.question}" for check in asked)
        short = alert_times.too_short(drill.alerts, scenario.phases, STACK_SCALE)
        yield from (f"  will not be asked, {sentence}" for sentence in short)
        return
    phases, unasked = frozenset(phase.name for phase in scenario.phases), verdicts.not_asked(drill, scenario)
    for check in verdicts.checks(drill, True, scenario.phases):
        why = check.lacks(phases)
        if check.name not in unasked:
            yield f"  {check.name}: {check.question if why is None else f'will be SKIPPED, {why}'}"
    if unasked:
        yield f"  {verdicts.not_asked_line(unasked)}: {', '.join(unasked)}"


def _first_line(described: object) -> str:
    return (inspect.getdoc(described) or "nothing is said").splitlines()[0].replace("``", "")
