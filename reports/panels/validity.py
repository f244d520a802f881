"""What the run could not measure, and what that invalidates."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from harness.evidence.view import RunView
from harness.model.verdict import CheckResult, Verdict
from reports.panel import badge, table

ORDER, TITLE = 15, "Validity of the run"


def html(view: RunView, verdict: Verdict) -> Markup:
    """What is not as it should be; what is, folded."""
    bad = [finding for finding in verdict.validity if finding.status != "PASS"]
    good = [finding for finding in verdict.validity if finding.status == "PASS"]
    said = f"{len(good)} other validity checks" if bad else f"All {len(good)} validity checks"
    fold = Markup("<details><summary>{} hold.</summary>{}</details>")
    return (_table(bad) if bad else Markup("")) + (fold.format(said, _table(good)) if good else Markup(""))


def invalid(verdict: Verdict) -> bool:
    """Whether the run could not measure something that it should have."""
    return any(finding.status != "PASS" for finding in verdict.validity)


def line(verdict: Verdict) -> str:
    """The finding in one line, for the top of the page."""
    bad = [finding for finding in verdict.validity if finding.status != "PASS"]
    if not bad:
        return f"Valid: all {len(verdict.validity)} questions about the run itself are answered well."
    more = "" if len(bad) == 1 else f" (and {len(bad) - 1} more)"
    return f"Not valid in {len(bad)} of {len(verdict.validity)} questions about the run itself: {bad[0].name}{more}."


def _table(findings: Sequence[CheckResult]) -> Markup:
    return table(("verdict", "finding", "why"), [(badge(f.status), f.name, f.why) for f in findings])
