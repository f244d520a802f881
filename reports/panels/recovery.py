"""How soon each fault was noticed and over, and what it cost of the error budget."""

from __future__ import annotations

import math
from collections.abc import Iterator

from markupsafe import Markup

from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge import alerts, burn, objectives
from harness.model.verdict import CheckResult, Verdict
from reports.panel import moment, number, table

ORDER, TITLE = 33, "Times and error budget"
#: The service's own promise, where a scenario has no objective on availability before its first fault.
_AVAILABILITY = 99.0


def html(view: RunView, verdict: Verdict) -> Markup:
    """A row per fault phase, with its times; then the budget, and who would have been paged."""
    return _times(view, verdict) + _budget(view)


# ── times ──


def _times(view: RunView, verdict: Verdict) -> Markup:
    """Detected: from the fault's being in place to the first alert. All others as the checks of that name measured."""
    if not view.fault_phases:
        return Markup("<p>Nothing was injected.</p>")
    known = {
        column: {phase: [c for c in verdict.checks if c.id in ids and c.phase == phase] for phase in view.fault_phases}
        for column, ids in _COLUMNS.items()
    }
    asked = [column for column, of in known.items() if any(of.values())]
    rows = [
        (moment(view, phase) or phase, _detected(view, phase), *(_measured(known[column][phase]) for column in asked))
        for phase in view.fault_phases
    ]
    said = "«—»: the drill does not ask it there."
    return table(("phase", "first alert after", *asked), rows) + Markup("<p><small>{}</small></p>").format(said)


#: What each column shows, by the ids of the checks that measure it.
_COLUMNS = {
    "ejected within": ("gateway-ejects-replica", "dns-ejects-gateway"),
    "readmitted after the heal within": ("gateway-readmits-replica", "dns-fails-back", "replica-ready-again"),
    "users served again after the heal within": ("users-recover",),
    "alerts cleared after the heal within": ("alerts-clear",),
}


def _detected(view: RunView, phase: str) -> str | None:
    seconds = alerts.time_to_detect_s(view, phase)
    if seconds is not None:
        return number(seconds, "s")
    fault = alerts.fault_time(view, phase)
    if fault is None or alerts.scale(view) is None or alerts.unheard(view, fault.ordered_s, fault.healed_s):
        return None
    return "no alert"


def _measured(checks: list[CheckResult]) -> object:
    """The times of the components that were asked about; a time that no check could measure is no number."""
    if not checks:
        return "—"
    parts = []
    for check in checks:
        took = "not measured" if check.measured is None else number(check.measured, check.unit)
        parts.append(f"{took} ({check.subject})" if check.subject else took)
    return ", ".join(parts)


# ── budget ──


def _budget(view: RunView) -> Markup:
    target = availability_target(view)
    served = view.final[~view.final["outcome"].isin(NOT_OF_THE_SERVICE)]
    ends = [phase.end_s for phase in view.phases if phase.end_s is not None]
    if served.empty or not ends:
        return Markup('<p class="nodata">Error budget: not measured, no request was recorded.</p>')
    bad = served["outcome"].ne("ok").to_numpy(dtype=bool)
    found = burn.replay(served["end_s"].to_numpy(dtype=float), bad, view.phases[0].start_s, max(ends), target)
    lead = Markup(
        "<p><strong>{:,} of {:,} requests failed</strong>; an availability of {:g} % allows {:.1f} of so many. That is "
        "{} of what these minutes may cost, and <strong>{}</strong> of the error budget of 30 days at this rate of "
        "requests. {}</p>"
    ).format(
        found.bad,
        found.requests,
        target,
        found.requests * (1 - target / 100),
        _percent(found.spent),
        _percent(found.of_period),
        _paged(found),
    )
    rows = [
        (str(page.rule), "would not have paged" if page.at_s is None else f"{page.at_s:.1f} s") for page in found.pages
    ]
    note = (
        "Production rules, replayed over this run's requests on a service that was well before it. «Alerts» has the "
        "rules of the drill's own time scale (docs/metrics.md)."
    )
    return lead + table(("burn rate", "would have paged at"), rows) + Markup("<p><small>{}</small></p>").format(note)


def _paged(found: burn.Burned) -> str:
    """Why a run that costs many times its own budget may page nobody, or what it would have."""
    came = burn.first(found.pages)
    if came is None:
        return (
            "No rule pages for that: each looks back over hours or days, most of which were before the run, and well."
        )
    return f"By itself that is enough for a page, at {came.at_s:.1f} s."


def availability_target(view: RunView) -> float:
    """Percent of good requests: the scenario's objective on availability before the first fault, else the default."""
    return next(_targets(view), _AVAILABILITY)


def _targets(view: RunView) -> Iterator[float]:
    for slo in view.slos:
        if slo.sli == "availability" and all(view.before_first_fault(phase) for phase in slo.phases):
            value = _constant(slo.objective)
            if value is not None and 0 < value < 100:
                yield value


def _constant(text: str) -> float | None:
    """The number of an objective that is nothing but one; None for any other."""
    objective = objectives.parse(text)
    return None if objectives.names(objective) else objectives.evaluate(objective, lambda name: math.nan).value


def _percent(share: float | None) -> str:
    return "an unknown part" if share is None else number(100 * share, "%")
