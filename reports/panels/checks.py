"""SLOs and checks: what was asked, the limit, what was measured, and why the answer is what it is."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from harness.evidence.view import RunView
from harness.judge import unjudged, verdicts
from harness.model.verdict import CheckResult, Verdict
from reports.panel import badge, number, table

ORDER, TITLE = 10, "Checks"


def html(view: RunView, verdict: Verdict) -> Markup:
    """All checks, red ones first, skipped ones last, in the order of the drill otherwise; then what was not judged.

    What could not be judged for one and the same reason is one line.
    """
    rank = {"FAIL": 0, "INCONCLUSIVE": 1, "PASS": 2, "SKIPPED": 3}
    ordered = sorted(verdict.checks, key=lambda check: rank[check.status])
    head = ("verdict", "check", "phase", "objective", "measured", "margin", "n", "why")
    alike: dict[tuple[str, str], list[CheckResult]] = {}
    for check in ordered:
        known = check.status in ("FAIL", "PASS")
        alike.setdefault((check.status, check.name if known else check.why), []).append(check)
    asked = table(head, [_row(same[0]) if len(same) == 1 else _folded(same) for same in alike.values()], css="checks")
    lines = [unjudged.line(verdict.unjudged, verdict.checks)]
    if verdict.not_asked:
        lines.append(f"{verdicts.not_asked_line(verdict.not_asked)}: {', '.join(verdict.not_asked)}")
    return asked + Markup("").join(Markup("<p>{}</p>").format(line) for line in lines if line)


def _folded(checks: Sequence[CheckResult]) -> tuple[object, ...]:
    """One row for checks with the same status and reason, which lists their names when it is opened."""
    names = Markup("<details><summary>{} checks</summary>{}</details>").format(
        len(checks), Markup("<br>").join(check.name for check in checks)
    )
    return badge(checks[0].status), names, "—", "—", "—", "", "—", checks[0].why


def _row(check: CheckResult) -> tuple[object, ...]:
    measured = None if check.measured is None else number(check.measured, check.unit)
    if check.measured is None and check.status == "PASS":
        measured = "—"  # an invariant that holds has no number
    margin = "" if check.margin is None else number(check.margin, check.unit)
    why = Markup.escape(check.why)
    if check.examples:
        why += Markup('<br><small class="ids">e.g. {}</small>').format(", ".join(check.examples[:3]))
    objective = check.objective or "—"
    samples = "—" if check.samples is None else check.samples
    return badge(check.status), check.name, check.phase or "—", objective, measured, margin, samples, why
