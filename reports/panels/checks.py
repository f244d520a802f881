"""SLOs and checks: what was asked, the limit, what was measured, and why the answer is what it is."""

from __future__ import annotations

from markupsafe import Markup

from harness.evidence.view import RunView
from harness.judge import unjudged, verdicts
from harness.model.verdict import CheckResult, Verdict
from reports.panel import badge, number, table

ORDER, TITLE = 10, "Checks"


def html(view: RunView, verdict: Verdict) -> Markup:
    """All checks, red ones first, skipped ones last, in the order of the drill otherwise; then what was not judged."""
    rank = {"FAIL": 0, "INCONCLUSIVE": 1, "PASS": 2, "SKIPPED": 3}
    ordered = sorted(verdict.checks, key=lambda check: rank[check.status])
    head = ("verdict", "check", "phase", "objective", "measured", "margin", "n", "why")
    asked = table(head, [_row(check) for check in ordered], css="checks")
    lines = [unjudged.line(verdict.unjudged)]
    if verdict.not_asked:
        lines.append(f"{verdicts.not_asked_line(verdict.not_asked)}: {', '.join(verdict.not_asked)}")
    return asked + Markup("").join(Markup("<p>{}</p>").format(line) for line in lines if line)


def _row(check: CheckResult) -> tuple[object, ...]:
    measured = None if check.measured is None else number(check.measured, check.unit)
    if check.measured is None and check.status == "PASS":
        measured = "—"  # an invariant that holds has no number
    margin = "" if check.margin is None else number(check.margin, check.unit)
    why = Markup.escape(check.why)
    if check.examples:
        why += Markup('<br><small class="ids">e.g. {}</small>').format(", ".join(check.examples[:3]))
    objective = check.objective or "—"
    return badge(check.status), check.name, check.phase or "—", objective, measured, margin, check.samples or "—", why
