"""What held: every check that passed, folded by what it is about; then what was not judged."""

from __future__ import annotations

from markupsafe import Markup

from harness.evidence.view import RunView
from harness.judge import families, unjudged, verdicts
from harness.model.verdict import CheckResult, Status, Verdict
from reports.panel import number, table

ORDER, TITLE = 10, "What held"
_HEAD = ("check", "phase", "objective", "measured", "margin", "samples", "why")


def html(view: RunView, verdict: Verdict) -> Markup:
    """Subjects in the order of the drill's checks."""
    held: dict[str, list[CheckResult]] = {}
    for check in verdict.checks:
        if check.status is Status.PASS:
            held.setdefault(families.of(check.id), []).append(check)
    parts = [
        Markup('<details class="family"><summary>{} <span class="count">{} held</span></summary>{}</details>').format(
            family, len(checks), table(_HEAD, [_row(check) for check in checks], css="checks")
        )
        for family, checks in held.items()
    ]
    lines = [unjudged.line(verdict.unjudged, verdict.checks)]
    if verdict.not_asked:
        lines.append(f"{verdicts.not_asked_line(verdict.not_asked)}: {', '.join(verdict.not_asked)}")
    nothing = Markup("") if parts else Markup('<p class="nodata">No check passed.</p>')
    return nothing + Markup("").join([*parts, *(Markup("<p>{}</p>").format(line) for line in lines if line)])


def _row(check: CheckResult) -> tuple[object, ...]:
    measured = "—" if check.measured is None else number(check.measured, check.unit)  # one that holds may have none
    margin = "" if check.margin is None else number(check.margin, check.unit)
    samples = "—" if check.samples is None else check.samples
    return check.name, check.phase or "—", check.objective or "—", measured, margin, samples, check.why
