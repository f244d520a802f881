"""What was told to whoever is on call: which alerts, when, how long after the fault, and whether they were meant to."""

from __future__ import annotations

import math
from collections.abc import Iterator

from markupsafe import Markup

from harness.evidence.view import RunView
from harness.judge import alert_times, alerts
from harness.judge.alerts import Alert
from harness.judge.checks import alerts as checks
from harness.model.alert_rules import Scale
from harness.model.verdict import Verdict
from reports.panel import number, table

ORDER, TITLE = 35, "Alerts"
MAY = "may fire"


def html(view: RunView, verdict: Verdict) -> Markup:
    """The time scale and the time to detect each fault; then one row per alert, and per alert that did not come."""
    scale = alerts.scale(view)
    if scale is None:
        return Markup('<p class="nodata">Nobody could ask Prometheus for its rules: alerts were not measured.</p>')
    said = Markup("<p>Time scale of the rules: <strong>{}</strong>. Times are those of delivery. Time to "
                  "detect, from the fault's being in place to the first alert before its heal: {}.</p>")  # fmt: skip
    detected = ", ".join(f"{phase} {_detected(view, phase)}" for phase in view.fault_phases) or "no fault"
    head = ("alert", "severity", "during", "fired", "after the fault", "cleared", "after the heal", "the drill says")
    passed = frozenset(check.name for check in verdict.checks if check.status == "PASS")
    rows = [*_seen(view, passed), *_missing(view, scale)]
    legend = f"«{MAY}»: the drill does not require it there, and forbids at most a false one. Pages must still clear."
    return (
        said.format(scale, detected)
        + table(head, rows, "alerts")
        + (Markup("<p><small>{}</small></p>").format(legend) if any(row[-1] == MAY for row in rows) else "")
        + _too_short(view, scale)
    )


def _after(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0 else "before it"


def _detected(view: RunView, phase: str) -> str:
    seconds, fault = alerts.time_to_detect_s(view, phase), alerts.fault_time(view, phase)
    if seconds is not None:
        return number(seconds, "s")
    if fault is None or math.isinf(fault.healed_s) or alerts.unheard(view, fault.ordered_s, fault.healed_s):
        return "not measured"
    return "none"


def _seen(view: RunView, passed: frozenset[str]) -> Iterator[tuple[object, ...]]:
    for alert in alerts.seen(view):
        phase = next((p for p in view.fault_phases if alert in alerts.of_fault(view, p)), None)
        fault = alerts.fault_time(view, phase) if phase else None
        cleared = alert.cleared_s
        yield (
            str(alert),
            alert.severity,
            "before the run" if alert.before else phase or _phase_at(view, alert.started_s),
            f"{alert.fired_s:.1f} s",
            "—" if fault is None else _after(alert.fired_s - fault.effective_s),
            "still firing" if cleared is None else f"{cleared:.1f} s",
            "—" if fault is None or cleared is None else _after(cleared - fault.healed_s),
            "—" if alert.before else _said_of(view, alert, phase, passed),
        )


def _too_short(view: RunView, scale: Scale) -> Markup:
    """What the drill expects and this scenario was too short for."""
    said = [*alert_times.too_short(alerts.declared(view), view.scenario.phases, scale)]
    lines = Markup("").join(Markup("<li>{}</li>").format(sentence) for sentence in said)
    return Markup("<p>Not asked:</p><ul>{}</ul>").format(lines) if said else Markup("")


def _missing(view: RunView, scale: Scale) -> Iterator[tuple[object, ...]]:
    for one in alerts.declared(view):
        asked = one.fires and alert_times.can_fire(one, view.scenario.phases, scale)
        if asked and not any(alert.is_for(one) for alert in alerts.of_fault(view, one.phase)):
            span = view.phase(one.phase)
            how = "did not fire" if span is not None and span.finished else "the run ended before"
            yield str(one), "", one.phase, how, "—", "—", "—", "expected"


def _said_of(view: RunView, alert: Alert, phase: str | None, passed: frozenset[str]) -> str:
    """What the drill says of an alert that fired; where the check ``passed`` that forbids it, it was no false one."""
    if phase is None:
        return "UNEXPECTED" if alert.is_page_of_service and checks.NO_PAGE not in passed else MAY
    fires = [one.fires for one in alerts.declared(view) if one.phase == phase and alert.is_for(one)]
    if fires and fires[0]:
        return "expected"
    if checks.STAYS_WELL not in passed and checks.began_once_recovered(view, alert):
        return "UNEXPECTED"
    return MAY if not fires or f"alerts silent in {phase}" in passed else "UNEXPECTED"


def _phase_at(view: RunView, t_s: float) -> str:
    return next((p.name for p in reversed(view.phases) if p.start_s <= t_s), "before the first phase")
