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


def _table(findings: Sequence[CheckResult]) -> Markup:
    return table(("", "finding", "why"), [(badge(f.status), f.name, f.why) for f in findings])
