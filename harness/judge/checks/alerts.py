"""Alerts fire when they must, stay silent when they must, and clear (docs/metrics.md).

Bounds come from the rule's own time scale: its window and hold, and what scrape, evaluation, grouping and delivery
take; a drill adds what the stack needs until the rule's series show the fault, or its end. What a scenario leaves no
time for is not asked (harness/judge/alert_times.py). An alert is false when its own indicator, from the run's records,
was within its limit (harness/judge/indicators.py); a true one before the first fault says that steady state was not
reached. A generator that cannot keep up with the load makes pages of its own: then nothing is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.evidence.view import RunView
from harness.judge import alert_times, alerts, indicators
from harness.judge.alerts import Alert, FaultTime
from harness.judge.checks.shapes import asks
from harness.judge.checks.steady_state import begin_s, kept_until_s
from harness.judge.drill import Check, Expected
from harness.judge.indicators import Standing
from harness.judge.slo import NotMeasured
from harness.model.alert_rules import BY_NAME, STACK_SCALE, Scale
from harness.model.scenario import Phase
from harness.model.verdict import CheckResult, Status

NO_PAGE = "no page before the first fault"
STAYS_WELL = "no page once recovered"
_ORDER = (Status.FAIL, Status.INCONCLUSIVE, Status.PASS)
_NO_RULES = "nobody could ask Prometheus for its rules: no alert can be expected, and silence says nothing"


def checks(expected: Sequence[Expected], phases: Sequence[Phase] = ()) -> tuple[Check, ...]:
    """What every drill is asked, and for each phase of ``expected`` what must fire, what must not, and that it ends.

    With the ``phases`` of a scenario, only what they are long enough for.
    """
    found = [_no_page(), _stays_well()]
    for phase in dict.fromkeys(e.phase for e in expected):
        here = [e for e in expected if e.phase == phase]
        must_not = [e for e in here if not e.fires]
        must = [e for e in here if e.fires and alert_times.can_fire(e, phases, STACK_SCALE)]
        clear = [e for e in must if alert_times.can_clear(e.alert, e.clear_delay_s, phase, phases, STACK_SCALE)]
        asked = ((_fire, must), (_silent, must_not), (_clear, clear))
        found += [check(phase, several) for check, several in asked if several]
    return tuple(found)


# ── before anything is broken ──


@asks(
    "no-page-before-first-fault",
    NO_PAGE,
    "Is the service's steady state free of pages?",
    "alerts", "load",
    timing=False, objective="0 pages",
    # A page that should not fire keeps a run from its steady state, and so from its first fault.
    despite=frozenset({"run complete", "steady state before the first fault"}),
)  # fmt: skip
def _no_page(view: RunView) -> CheckResult:
    steady = [s for s in view.phases if s.kind != "warmup"]
    if not steady:
        raise NotMeasured("no phase was started")
    scale = _scale(view)
    begin, ends = steady[0].start_s, [s.end_s for s in steady if s.end_s is not None]
    faults = [s.fault_start_s for s in steady if s.fault_start_s is not None]
    ends += [e.t_s for e in view.events("steady_state")]
    end = min(faults) if faults else max(ends, default=begin)
    pages = [a for a in alerts.seen(view) if a.is_page_of_service and a.started_s < end]
    bad = [a for a in pages if not a.before and (a.started_s >= begin or a.is_on(end))]
    if bad:
        status, why = _worst_page(view, bad, end, scale)
        # Without a phase it would speak of the whole run, and what disturbed the baseline alone would not explain it.
        phases = ", ".join(s.name for s in steady if view.before_first_fault(s.name)) or None
        return _pages(status, why, len(bad), len(pages), phase=phases)
    if old := [a for a in pages if a.is_on(end) and not _looks_back(a, end, view, scale)]:
        raise NotMeasured(f"{old[0]} has been firing since before the run's load: nobody can tell whose page that is")
    if gap := alerts.unheard(view, begin, end):
        raise NotMeasured(gap)
    return _pages(Status.PASS, f"none fired in the {end - begin:.0f} s before it", 0, len(pages))


def _worst_page(view: RunView, bad: Sequence[Alert], end_s: float, scale: Scale) -> tuple[Status, str]:
    """FAIL for a page whose indicator was within its limit; with a true one steady state was not reached."""
    told = "; ".join(f"{page} at {page.started_s:.1f} s" for page in bad)
    readings = [indicators.read(view, page, scale, t_s) for page in bad for t_s in _moments(page, end_s, scale)]
    if None in readings:
        return Status.FAIL, f"unexpected page during steady state: {told}"
    known = [reading for reading in readings if reading is not None]
    if false := [reading.why for reading in known if reading.standing is Standing.WITHIN]:
        return Status.FAIL, f"unexpected page during steady state: {told}: {false[0]}"
    return Status.INCONCLUSIVE, f"not in steady state: {told}: {'; '.join(dict.fromkeys(r.why for r in known))}"


def _moments(page: Alert, end_s: float, scale: Scale) -> Iterator[float]:
    """When a page must have been true: when it began, and when it was on for the last time before ``end_s``.

    The end of one that cleared is no such moment: its cause was over by then.
    """
    yield page.started_s
    rule = BY_NAME.get(page.name)
    if rule is not None and page.is_on(end_s) and end_s - page.started_s > rule.clears_within_s(scale):
        yield end_s


def _looks_back(alert: Alert, t_s: float, view: RunView, scale: Scale) -> bool:
    """Whether what was before the run's load can still keep it firing at that moment."""
    return t_s < alerts.load_start_s(view) + BY_NAME[alert.name].clears_within_s(scale)


# ── once it has recovered ──


@asks(
    "no-page-once-recovered",
    STAYS_WELL,
    "Is nobody woken once the steady state was reached again, until the next fault?",
    "alerts", "load",
    timing=True, objective="0 pages",
)  # fmt: skip
def _stays_well(view: RunView) -> CheckResult:
    scale, stretches = _scale(view), list(_recovered(view))
    if not stretches:
        if any(p["kind"] == "recovery" for p in view.planned_phases):
            raise NotMeasured("no steady state was reached after a fault")
        return CheckResult("", Status.PASS, "no recovery is planned")
    pages = [a for a in alerts.seen(view) if a.is_page_of_service and not a.before]
    bad = [a for a in pages if began_once_recovered(view, a)]
    if bad:
        status, why = min((_is_false(view, a, True, scale) for a in bad), key=lambda one: _ORDER.index(one[0]))
        return _pages(status, why, len(bad), len(pages))
    if gap := next(filter(None, (alerts.unheard(view, begin, end) for _, begin, end in stretches)), None):
        raise NotMeasured(gap)
    why = f"none began in the {len(stretches)} stretches between «steady state reached» and the next fault"
    return _pages(Status.PASS, why, 0, len(pages))


def _recovered(view: RunView) -> Iterator[tuple[float, float, float]]:
    """The last heal, the begin of the steady stretch after it, and the next fault or the end of the run."""
    healed = sorted(s.fault_end_s for s in view.phases if s.fault_end_s is not None)
    for said in view.events("steady_state"):
        before = [t_s for t_s in healed if t_s <= said.t_s]
        if said.data.get("reached") and before:
            yield before[-1], begin_s(said), kept_until_s(view, said)


def began_once_recovered(view: RunView, alert: Alert) -> bool:
    """Whether it is a page that nobody may get: the service had recovered, and the next fault had not come."""
    scale = alerts.scale(view)
    if scale is None or alert.before or not alert.is_page_of_service:
        return False
    return any(_late_page(alert, stretch, scale) for stretch in _recovered(view))


def _late_page(alert: Alert, stretch: tuple[float, float, float], scale: Scale) -> bool:
    """Whether it began in that stretch, and too late for the fault before it to be its cause."""
    rule, (healed_s, steady_s, end_s) = BY_NAME.get(alert.name), stretch
    since_s = max(steady_s, healed_s + (rule.fires_within_s(scale) if rule else 0.0))
    return since_s < alert.started_s < end_s


# ── what must fire ──


@asks(
    "alerts-fire",
    "alerts fire in {phase}",
    "Is the fault in {phase} noticed: {expected}?",
    "alerts", "load", "fault:{phase}",
    timing=True,
)  # fmt: skip
def _fire(view: RunView, phase: str, expected: Sequence[Expected]) -> CheckResult:
    scale, fault = _scale(view), alerts.fault_time(view, phase)
    if fault is None:
        raise NotMeasured(f"nothing was injected in {phase}")
    found = [_one_fires(view, fault, one, scale, phase) for one in expected]
    worst = min(found, key=_rank)
    others = "; ".join(r.why for r in found if r is not worst and r.status is worst.status is not Status.PASS)
    why = "; ".join(filter(None, (worst.why, others)))
    details: dict[str, Any] = {r.name: r.measured for r in found} | {
        "time_to_detect_s": alerts.time_to_detect_s(view, phase)
    }
    numbers: dict[str, Any] = {"measured": worst.measured, "unit": "s", "margin": worst.margin, "samples": len(found)}
    return CheckResult("", worst.status, why, worst.objective, details=details, **numbers)


def _one_fires(view: RunView, fault: FaultTime, one: Expected, scale: Scale, phase: str) -> CheckResult:
    """``name`` is the alert's."""
    text, bound = str(one), alert_times.fires_within_s(one, scale)
    objective = (
        f"≤ {bound:.6g} s ({text}: {one.signal_delay_s:g} until it shows, {bound - one.signal_delay_s:g} the rule)"
    )
    if any(a.is_for(one) and a.is_on(fault.ordered_s) for a in alerts.seen(view)):
        why = f"{text} was already firing when the fault began: whether it notices it cannot be seen"
        return CheckResult(text, Status.INCONCLUSIVE, why, objective)
    fired, due = [a for a in alerts.of_fault(view, phase) if a.is_for(one)], fault.effective_s + bound
    gap = alerts.unheard(view, fault.ordered_s, min(due, fault.until_s))
    if fired and (fired[0].fired_s <= due or not gap):
        seconds = max(0.0, fired[0].fired_s - fault.effective_s)
        why = f"{text} reached the sink {seconds:.1f} s after the fault was in place"
        status = Status.PASS if seconds <= bound else Status.FAIL
        return CheckResult(text, status, why, objective, seconds, "s", bound - seconds)
    if gap:
        return CheckResult(text, Status.INCONCLUSIVE, gap, objective)
    if min(fault.healing_s, fault.until_s) < due:
        lasted = min(fault.healing_s, fault.until_s) - fault.effective_s
        why = f"{text} did not fire, but the fault lasted {lasted:.1f} s only, and it may take {bound:g} s"
        return CheckResult(text, Status.INCONCLUSIVE, why, objective)
    missing = "" if one.alert in alerts.rules(view) else "; Prometheus has no rule of that name"
    why = f"expected alert did not fire: {text}, due {bound:g} s after the fault in {phase}{missing}"
    return CheckResult(text, Status.FAIL, why, objective)


# ── what must not ──


@asks(
    "alerts-silent",
    "alerts silent in {phase}",
    "Does the fault in {phase} leave these silent: {expected}?",
    "alerts", "load", "fault:{phase}",
    timing=True, objective="0 of {expected}",
)  # fmt: skip
def _silent(view: RunView, phase: str, expected: Sequence[Expected]) -> CheckResult:
    scale, fault = _scale(view), alerts.fault_time(view, phase)
    if fault is None:
        raise NotMeasured(f"nothing was injected in {phase}")
    slowest = max(BY_NAME[one.alert].fires_within_s(scale) for one in expected)
    until = min(fault.until_s, fault.healed_s + slowest)
    fired = [a for a in alerts.of_fault(view, phase) if a.started_s <= until and any(map(a.is_for, expected))]
    status, why, false = Status.PASS, f"none of {', '.join(map(str, expected))} fired", 0
    if fired:
        found = [_is_false(view, a, any(e.holds for e in expected if a.is_for(e)), scale) for a in fired]
        status, why = min(found, key=lambda one: _ORDER.index(one[0]))
        false = sum(one is Status.FAIL for one, _ in found)
    elif gap := alerts.unheard(view, fault.ordered_s, until):
        raise NotMeasured(gap)
    return _pages(status, why, false, len(expected), "alerts")


def _is_false(view: RunView, alert: Alert, holds: bool, scale: Scale) -> tuple[Status, str]:
    """An alert that fired: false; true of what must not be (``holds``); or true, and left to the objectives."""
    at, reading = f"{alert} at {alert.started_s:.1f} s", indicators.read(view, alert, scale, alert.started_s)
    if reading is None:
        return Status.FAIL, f"unexpected alert: {at}"
    if reading.standing is Standing.WITHIN:
        return Status.FAIL, f"unexpected alert: {at}: {reading.why}"
    if reading.standing is not Standing.OVER:
        return Status.INCONCLUSIVE, f"whether {at} is a false alert cannot be said: {reading.why}"
    if holds:
        return Status.FAIL, f"unexpected alert: {at}, and a true one: {reading.why}"
    return Status.PASS, f"{at} is a true alert, so the objectives of the phase decide: {reading.why}"


# ── and its end ──


@asks(
    "alerts-clear",
    "alerts clear after {phase}",
    "Do the alerts of {phase} clear after its heal?",
    "alerts", "load", "fault:{phase}",
    timing=True, after_heal=True,
)  # fmt: skip
def _clear(view: RunView, phase: str, expected: Sequence[Expected]) -> CheckResult:
    scale, fault = _scale(view), alerts.fault_time(view, phase)
    if fault is None or fault.healed_s > fault.until_s:
        raise NotMeasured(f"nothing was injected and healed in {phase}")
    fired = [a for a in alerts.of_fault(view, phase) if _is_faults(a, fault, expected, scale)]
    timely = [a for a in fired if _has_time(a, phase, expected, view, scale)]
    if not timely:
        raise NotMeasured(f"no alert fired in {phase}, so none could clear")
    found = [_one_clears(view, fault, alert, expected, scale) for alert in timely]
    worst = min(found, key=_rank)
    details: dict[str, Any] = {
        f"{alert} from {alert.started_s:.1f} s": r.measured for alert, r in zip(timely, found, strict=True)
    }
    numbers: dict[str, Any] = {"measured": worst.measured, "unit": "s", "margin": worst.margin, "samples": len(found)}
    return CheckResult("", worst.status, worst.why, worst.objective, details=details, **numbers)


def _has_time(alert: Alert, phase: str, expected: Sequence[Expected], view: RunView, scale: Scale) -> bool:
    gone = _clear_delay_s(alert, expected)
    return alert_times.can_clear(alert.name, gone, phase, view.scenario.phases, scale)


def _is_faults(alert: Alert, fault: FaultTime, expected: Sequence[Expected], scale: Scale) -> bool:
    """Whether it has to clear: a page, or declared, that began while the fault could still be its cause."""
    until = fault.healed_s + _clear_delay_s(alert, expected) + BY_NAME[alert.name].fires_within_s(scale)
    return alert.started_s <= until and (alert.is_page_of_service or any(map(alert.is_for, expected)))


def _clear_delay_s(alert: Alert, expected: Sequence[Expected]) -> float:
    """An alert that the drill does not speak of may take as long as the slowest that it does."""
    return max((e.clear_delay_s for e in expected if alert.is_for(e)), default=max(e.clear_delay_s for e in expected))


def _one_clears(
    view: RunView, fault: FaultTime, alert: Alert, expected: Sequence[Expected], scale: Scale
) -> CheckResult:
    text, gone = str(alert), _clear_delay_s(alert, expected)
    bound = alert_times.clears_within_s(alert.name, gone, scale)
    objective = f"≤ {bound:.6g} s ({text}: {gone:g} until its cause is gone, {bound - gone:g} the rule)"
    if alert.cleared_s is not None and alert.cleared_s <= fault.until_s:
        seconds = max(0.0, alert.cleared_s - fault.healed_s)
        why = f"{text} cleared {seconds:.1f} s after the heal"
        status = Status.PASS if seconds <= bound else Status.FAIL
        return CheckResult(text, status, why, objective, seconds, "s", bound - seconds)
    due = fault.healed_s + bound
    if gap := alerts.unheard(view, fault.healed_s, min(due, fault.until_s)):
        return CheckResult(text, Status.INCONCLUSIVE, gap, objective)
    watched = fault.until_s - fault.healed_s
    if fault.until_s < due:
        why = f"{text} was still firing {watched:.1f} s after the heal, when that ended; it may take {bound:g} s"
        return CheckResult(text, Status.INCONCLUSIVE, why, objective)
    return CheckResult(text, Status.FAIL, f"{text} never cleared in the {watched:.1f} s after the heal", objective)


def _rank(result: CheckResult) -> tuple[int, float]:
    """FAIL first, then what is not known, then the smallest margin."""
    return _ORDER.index(result.status), 0.0 if result.margin is None else result.margin


def _pages(
    status: Status, why: str, count: int, samples: int, unit: str = "pages", phase: str | None = None
) -> CheckResult:
    measured = float(count)
    return CheckResult(
        "", status, why, measured=measured, unit=unit, margin=0.0 - measured, samples=samples, phase=phase
    )


def _scale(view: RunView) -> Scale:
    """The time scale of the run's alert rules. NotMeasured when nobody could ask for them."""
    if (scale := alerts.scale(view)) is None:
        raise NotMeasured(_NO_RULES)
    return scale
