"""The judge: a pure function from a run folder to a verdict. Judging again gives the same bytes.

1. *Validity first*: what could this run not measure? Each finding names what it invalidates.
2. Every check and every SLO. What an external target cannot answer is no part of its drill (``not_asked``); a check
   of ``Drill.external`` that lacks something is SKIPPED. One whose ``needs`` are invalidated is INCONCLUSIVE before its
   value is compared, unless it is a safety check, which may FAIL even then, or the finding is a consequence of its own
   FAIL (``Check.despite``). One that crashes is INCONCLUSIVE with the exception's text.
3. Where others disturbed the machine, a FAIL that is about time may be INCONCLUSIVE instead
   (harness/judge/disturbed.py).
4. The worst wins: FAIL > INCONCLUSIVE (SKIPPED) > PASS.
5. When everything that made a run INCONCLUSIVE is explained by such a disturbance, that is its recorded cause.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from harness.evidence.record import RunFolder, schema_problem
from harness.evidence.view import RunView
from harness.judge import as_planned, capacity, per_phase, slo, unjudged, validity
from harness.judge.checks import alerts, answers_right, broken_attempts, counters_agree, records, served_versions
from harness.judge.disturbed import Machine
from harness.judge.drill import Check, Drill
from harness.judge.finding import EVERYTHING, Finding
from harness.model.errors import RunFolderError
from harness.model.scenario import SLO, Phase, Scenario
from harness.model.verdict import INTERFERENCE, TOO_SMALL, CheckResult, PhaseValue, Status, Verdict, worst

VERDICT_SCHEMA = 1
#: Checks of every drill: they are about the records and the faults, whatever is drilled.
INVARIANTS = (
    records.conserved(),
    records.nothing_left_injected(),
    records.no_silent_truncation(),
    counters_agree.check(),
    answers_right.check(),
    served_versions.check(),
    broken_attempts.check(),
)
_DIGITS = 6  # significant digits kept in verdict.json


def judge(folder: RunFolder, drill: Drill, view: RunView | None = None) -> Verdict:
    """The verdict of a stored run, through this view of it, if there is one. RunFolderError without a readable plan."""
    view = view or RunView(folder)
    return dataclasses.replace(answer(view, drill, asked(view, drill)), slis=per_phase.values(view))


def asked(view: RunView, drill: Drill) -> tuple[Check, ...]:
    """The checks that this run is asked, and its objectives as checks; not what its target cannot answer."""
    unasked = _unasked(view, drill)
    return (*(check for check in _known(view, drill) if check.name not in unasked), *_slo_checks(view))


def answer(view: RunView, drill: Drill, questions: Sequence[Check]) -> Verdict:
    """What the validity rules say of a run of this drill, and these checks, as one verdict."""
    machine = Machine(view)
    found = (*validity.findings(view), *as_planned.checks(view, _known(view, drill)[len(INVARIANTS) :]))
    findings, explained = _explained(machine, found)
    weighed = [_identified(check, _judged(check, view, findings, machine)) for check in questions]
    results = [one.result for one in weighed]
    status = worst([*(f.result.status for f in findings), *(r.status for r in results)])
    cause = _cause(view, findings, explained, weighed) if status is Status.INCONCLUSIVE else None
    unasked = _unasked(view, drill)
    reason = "; ".join(filter(None, (_reason(status, findings, results), not_asked_line(unasked))))
    stretches = unjudged.stretches(view)
    return Verdict(status, reason, tuple(f.result for f in findings), tuple(results), cause, unasked, stretches)


def _known(view: RunView, drill: Drill) -> tuple[Check, ...]:
    """What a run of these phases on this target can be asked at most, objectives apart."""
    return checks(drill, view.target is not None, view.scenario.phases)


def _unasked(view: RunView, drill: Drill) -> tuple[str, ...]:
    """Names of the checks that are no part of this run's drill."""
    return not_asked(drill, view.scenario) if view.target is not None else ()


def _explained(machine: Machine, found: tuple[Finding, ...]) -> tuple[tuple[Finding, ...], frozenset[str]]:
    """The findings with what the machine has to do with them, and the names of those that it explains."""
    both = [_explain(machine, finding) for finding in found]
    return tuple(finding for finding, _ in both), frozenset(f.result.name for f, because in both if because)


def _explain(machine: Machine, finding: Finding) -> tuple[Finding, bool]:
    """What the machine has to do with it; nothing, where the records that would tell cannot be read."""
    try:
        return machine.explain(finding)
    except Exception:  # the finding itself stands, and says that the run is not to be judged
        return finding, False


def _cause(
    view: RunView, findings: tuple[Finding, ...], explained: frozenset[str], weighed: list[_Judged]
) -> str | None:
    """The root cause of an INCONCLUSIVE run. Interference only where nothing else is in its way."""
    if view.events("too_small"):
        return INTERFERENCE if _measured_disturbed(view) else TOO_SMALL
    bad = [f for f in findings if f.result.status is not Status.PASS]
    everything = [f for f in bad if EVERYTHING in f.invalidates]
    # A run that ended early lacks whatever was to come: that is no cause of its own, but what crashed is.
    crashed = [f for f in bad if f.result.name in validity.CRASHES and f not in everything]
    roots = [f.result.name in explained for f in ([*everything, *crashed] if everything else bad)]
    if not everything:
        roots += [one.by_machine for one in weighed if one.own and one.result.status is Status.INCONCLUSIVE]
    return INTERFERENCE if roots and all(roots) else None


def _measured_disturbed(view: RunView) -> bool:
    """Whether the capacity that a machine was called too small by was measured while others disturbed it."""
    used = (view.plan.get("capacity") or {}).get("used") or {}
    return any(str(doubt).startswith(capacity.DISTURBED) for doubt in used.get("provisional", ()))


def checks(drill: Drill, external: bool = False, phases: Sequence[Phase] = ()) -> tuple[Check, ...]:
    """What every run is asked, and what this drill asks; of an external target something more.

    With the ``phases`` of a scenario: without the alerts that they are too short for.
    """
    own = (*drill.checks, *(drill.external if external else ()))
    return (*INVARIANTS, *own, *alerts.checks(drill.alerts, phases))


def not_asked(drill: Drill, scenario: Scenario) -> tuple[str, ...]:
    """Names of the checks that an external target cannot answer, in the drill's order: no part of its drill.

    Never one of ``Drill.external``, whatever the scenario lacks. Empty when a fault phase (without faults: any phase
    but a warm-up) would be left without a check or an objective: then every check that cannot be answered is SKIPPED,
    so that no fault goes unjudged.
    """
    phases = frozenset(phase.name for phase in scenario.phases)
    known, meant = checks(drill, True, scenario.phases), {check.name for check in drill.external}
    judged = {phase for slo in scenario.slos for phase in slo.phases}
    judged |= {phase for check in known if check.lacks(phases) is None for phase in check.phases}
    practised = {phase.name for phase in scenario.phases if phase.faults}
    if not (practised or {phase.name for phase in scenario.phases if phase.kind != "warmup"}) <= judged:
        return ()
    return tuple(c.name for c in known if c.name not in meant and c.lacks(phases) is not None)


def unanswerable(drill: Drill, scenario: Scenario) -> str | None:
    """The first check that this scenario of our own stack gives nothing to judge, and why; None when there is none."""
    phases = {phase.name: [fault.type for fault in phase.faults] for phase in scenario.phases}
    for check in checks(drill, phases=scenario.phases):
        if missing := check.missing(phases, drill.faults):
            there = ", ".join(f"{name} ({' + '.join(types)})" if types else name for name, types in phases.items())
            return f"«{check.question}» (the check {check.name!r}) needs {missing}; the phases are {there}"
    return None


def not_asked_line(names: Sequence[str]) -> str:
    """One line about them for report, terminal and dry run; "" without any."""
    if not names:
        return ""
    what = "gateways, replicas, alerts or links of Drillyard's own"
    return f"not asked of an external target: {len(names)} checks that need {what}"


def write(folder: RunFolder, verdict: Verdict) -> None:
    """Write verdict.json."""
    folder.write_json("verdict.json", as_data(verdict))


def as_data(verdict: Verdict) -> dict[str, Any]:
    """A verdict as verdict.json holds it (docs/verdict.md, harness/model/verdict.schema.json)."""
    whole = {"schema": VERDICT_SCHEMA, "exit_code": verdict.status.exit_code, **dataclasses.asdict(verdict)}
    return {key: _plain(value) for key, value in whole.items()}


def read(folder: RunFolder) -> Verdict:
    """The verdict as stored. RunFolderError when it is missing, broken or of another version."""
    data = folder.read_json("verdict.json")
    if problem := schema_problem(data, VERDICT_SCHEMA):
        raise RunFolderError(f"{folder.path / 'verdict.json'}: {problem}")
    try:
        return Verdict(
            Status(data["status"]),
            str(data["reason"]),
            tuple(_result(r) for r in data["validity"]),
            tuple(_result(r) for r in data["checks"]),
            data.get("cause"),  # verdicts of earlier versions have none, nor the next
            tuple(map(str, data.get("not_asked", ()))),
            tuple(map(str, data.get("unjudged", ()))),
            tuple(PhaseValue(**one) for one in data.get("slis", ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        why = f"no verdict that can be read ({type(error).__name__}: {error}); judge the run again"
        raise RunFolderError(f"{folder.path / 'verdict.json'}: {why}") from None


def _slo_checks(view: RunView) -> list[Check]:
    """The scenario's objectives as checks."""

    def check(objective: SLO) -> Check:
        question = f"Is {objective.sli} {objective.objective} in {', '.join(objective.phases)}?"
        run, needs, timing = partial(slo.judge_slo, slo=objective), slo.needs(objective, view), slo.timing(objective)
        return Check(
            slo.id_of(objective),
            objective.name,
            question,
            run,
            needs,
            timing=timing,
            per_request=True,
            promises=objective.phases,
            phase=", ".join(objective.phases),
            subject=objective.cohort,
        )

    return [check(objective) for objective in view.slos]


@dataclass(frozen=True)
class _Judged:
    """``own``: the result is the check's own and no consequence of what the run could not measure."""

    result: CheckResult
    own: bool = False
    by_machine: bool = False


def _identified(check: Check, judged: _Judged) -> _Judged:
    """With the check's own id, phase and subject, whatever became of it."""
    phase = judged.result.phase or check.phase
    result = dataclasses.replace(judged.result, id=check.id, phase=phase, subject=check.subject)
    return dataclasses.replace(judged, result=result)


def _judged(check: Check, view: RunView, findings: tuple[Finding, ...], machine: Machine) -> _Judged:
    view.give_back()
    why = check.lacks(frozenset(p["name"] for p in view.planned_phases)) if view.target else None
    if why is not None:
        return _Judged(CheckResult(check.name, Status.SKIPPED, why))
    invalidated = [
        f for f in findings if f.invalidates & check.needs or (EVERYTHING in f.invalidates and not check.safety)
    ]
    decisive = [f for f in invalidated if f.result.name not in check.despite]
    if decisive and not check.safety:
        return _Judged(CheckResult(check.name, Status.INCONCLUSIVE, f"not judged: {decisive[0].result.why}"))
    try:
        result, by_machine = machine.weigh(check, dataclasses.replace(check.run(view), name=check.name))
        result = _cut_by_heal(check, view, _before_any_fault(check, view, result))
    except Exception as error:  # a judge that crashes must not look like a service that works
        why = f"the check itself crashed: {type(error).__name__}: {error}"
        return _Judged(CheckResult(check.name, Status.INCONCLUSIVE, why), own=True)
    if invalidated and result.status is Status.PASS:
        why = f"not judged: {invalidated[0].result.why}"
        return _Judged(dataclasses.replace(result, status=Status.INCONCLUSIVE, why=why))
    return _Judged(result, True, by_machine)


def _cut_by_heal(check: Check, view: RunView, result: CheckResult) -> CheckResult:
    """INCONCLUSIVE for a FAIL that depends on requests which a heal has cut: Drillyard caused it, not the service.

    It is no PASS either: the outcome of these requests without the cut is unknown.
    """
    if result.status is not Status.FAIL or not check.per_request or not view.cut_by_heal:
        return result
    if check.run(view.without(view.cut_by_heal)).status is Status.FAIL:
        return result
    why = f"{result.why}; the heal of a link cut {len(view.cut_by_heal)} requests, and the check holds without them"
    return dataclasses.replace(result, status=Status.INCONCLUSIVE, why=why)


def _before_any_fault(check: Check, view: RunView, result: CheckResult) -> CheckResult:
    """A promise that is broken before the first fault: no steady state, and no failure of what is drilled."""
    early = bool(check.promises) and all(map(view.before_first_fault, check.promises))
    if result.status is not Status.FAIL or not early:
        return result
    why = f"not in steady state before the first fault: {result.why}"
    return dataclasses.replace(result, status=Status.INCONCLUSIVE, why=why)


def _reason(status: Status, findings: tuple[Finding, ...], results: list[CheckResult]) -> str:
    """One sentence for the first line of the report."""
    if status is Status.PASS:
        return f"all {len(results)} checks passed"
    invalid = [] if status is Status.FAIL else [f.result for f in findings if f.result.status is status]
    red = [*invalid, *(r for r in results if r.status is status)]
    skipped = _skipped(results)
    if not red:
        return skipped or "nothing was judged"
    # What made the run invalid is named alone: the checks that it invalidated only repeat it.
    more = "" if invalid or len(red) == 1 else f" (and {len(red) - 1} more)"
    lead = "" if red[0].name == validity.COMPLETE else f"{red[0].name}: "  # «run complete: the run was interrupted»
    return f"{lead}{red[0].why}{more}" + (f"; {skipped}" if skipped else "")


def _skipped(results: list[CheckResult]) -> str:
    """How many checks passed and how many were skipped, for the reason; "" when none was."""
    skipped = [r for r in results if r.status is Status.SKIPPED]
    passed = sum(r.status is Status.PASS for r in results)
    if not skipped:
        return ""
    return f"{passed} checks passed, {len(skipped)} were skipped ({skipped[0].name}: {skipped[0].why})"


def _result(data: dict[str, Any]) -> CheckResult:
    return CheckResult(**{**data, "status": Status(data["status"]), "examples": tuple(data["examples"])})


def _plain(value: Any) -> Any:
    """Data that JSON can hold: no numpy types, no NaN or infinity (null instead), floats to six digits."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
