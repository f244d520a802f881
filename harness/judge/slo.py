"""Service level objectives of a scenario, judged against a stored run."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

from harness.evidence.view import RunView
from harness.judge import objectives, sli
from harness.judge.objectives import Limit, Objective
from harness.judge.sli import Measurement
from harness.model.scenario import SLO
from harness.model.topology import POLICIES
from harness.model.verdict import CheckResult, Status


class NotMeasured(Exception):
    """Something that is asked for has no value in this run; the message says why.

    ``samples`` is how many there were, ``objective`` the limit as text, where either is known.
    """

    def __init__(self, why: str, samples: int | None = None, objective: str = "") -> None:
        super().__init__(why)
        self.samples, self.objective = samples, objective


def unit_problem(slo: SLO) -> str | None:
    """Why the indicator cannot be compared with the objective's limit; None when both have the same unit."""
    measured, wanted = sli.find(slo.sli).unit, objectives.parse(slo.objective).unit
    if measured == wanted:
        return None
    return f"{slo.sli} is measured in {measured or 'bare numbers'}, {slo.objective!r} in {wanted or 'bare numbers'}"


def id_of(slo: SLO) -> str:
    """The id of the check that an objective is: by its indicator, since its name is for people."""
    return f"slo-{slo.sli.replace('_', '-')}"


def timing(slo: SLO) -> bool:
    """Whether its indicator depends on how fast the machine is."""
    try:
        return sli.find(slo.sli).timing
    except ValueError:  # an indicator of another version: the check itself says so
        return False


def needs(slo: SLO, view: RunView) -> frozenset[str]:
    """What has to be valid before its value may be compared, as in ``Check.needs``."""
    faults = {f"fault:{name}" for name in slo.phases if name in view.fault_phases}
    return frozenset({"load", *faults})


def measure(view: RunView, name: str, phases: Iterable[str], cohort: str | None = None) -> Measurement:
    """The indicator ``name`` over the requests judged with any of ``phases``, of one cohort when asked for."""
    wanted = list(phases)
    everything = view.requests
    rows = view.attempts(wanted[0]) if len(wanted) == 1 else everything[everything["judged_phase"].isin(wanted)]
    if cohort is not None:
        rows = rows[rows["cohort"].eq(cohort)]
    return sli.find(name).measure(rows, view)


def limit(view: RunView, objective: Objective) -> Limit:
    """The objective with this run's numbers. NotMeasured when one of them is missing."""
    kinds = {p["name"]: p["kind"] for p in view.planned_phases}
    view = copy.copy(view)
    view.partial = False  # a limit that is only known to be at least so high is none

    def value_of(name: str) -> float:
        owner, field = name.split(".")
        if owner in POLICIES:
            return _of_policy(view, owner, field)
        phase = _phase_called(owner, kinds)
        if phase is None:
            raise NotMeasured(f"{name} names no phase of this run")
        found = measure(view, field, [phase])
        if found.value is None:
            raise NotMeasured(f"{name} was not measured: {found.why}")
        return found.value

    return objectives.evaluate(objective, value_of)


def judge_slo(view: RunView, slo: SLO) -> CheckResult:
    """One objective as a check. INCONCLUSIVE when the indicator or a number of the objective was not measured."""
    phase = ", ".join(slo.phases)
    found = measure(view, slo.sli, slo.phases, slo.cohort)
    try:
        problem = unit_problem(slo)
        if problem is not None:
            raise NotMeasured(problem)
        target = limit(view, objectives.parse(slo.objective))
    except NotMeasured as error:
        return CheckResult(slo.name, Status.INCONCLUSIVE, str(error), slo.objective, samples=found.samples, phase=phase)
    status, why = compare(found, target, f"{slo.sli} in {phase}")
    return CheckResult(
        slo.name,
        status,
        why,
        objective=target.text,
        measured=found.value,
        unit=found.unit,
        margin=None if found.value is None else target.margin(found.value),
        samples=found.samples,
        phase=phase,
        examples=() if status is Status.PASS else found.examples,
        details={} if found.bounds is None else {"bounds": list(found.bounds)},
    )


def compare(found: Measurement, target: Limit, what: str) -> tuple[Status, str]:
    """Status and the sentence why. A limit inside the bounds of what is known decides nothing."""
    if found.value is None:
        return Status.INCONCLUSIVE, f"{what} was not measured: {found.why}"
    low, high = found.bounds or (found.value, found.value)
    unit = f" {found.unit}" if found.unit else ""
    shown = f"{what} was {sli.digits(found.value)}{unit}" if found.bounds is None else f"{what}: {found.why}"
    if target.met_by(low) != target.met_by(high):
        return Status.INCONCLUSIVE, f"{shown}; the limit {target.text} lies inside what is known"
    met = target.met_by(found.value)
    verb = "which keeps" if met else "which breaks"
    return (Status.PASS if met else Status.FAIL), f"{shown}, {verb} the objective {target.text} (n = {found.samples})"


def _of_policy(view: RunView, owner: str, field: str) -> float:
    policy = view.policy(owner)
    seconds = field.removesuffix("_ms") + "_s" if field.endswith("_ms") else field
    if seconds not in policy:
        raise NotMeasured(f"the plan has no {owner} policy {seconds!r}")
    return policy[seconds] * (1000.0 if seconds.endswith("_s") else 1.0)


def _phase_called(owner: str, kinds: Mapping[str, str]) -> str | None:
    """The phase that a name in an objective means: its own name with ``_`` for ``-``, or ``baseline`` by kind."""
    for name in kinds:
        if name.replace("-", "_") == owner:
            return name
    return next((n for n, kind in kinds.items() if kind == owner == "baseline"), None)
