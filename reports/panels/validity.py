"""What the run could not measure, and what that spoils."""

from __future__ import annotations

from markupsafe import Markup

from harness.evidence.view import RunView
from harness.model.verdict import Verdict
from reports.panel import badge, table

ORDER, TITLE = 15, "Validity of the run"


def html(view: RunView, verdict: Verdict) -> Markup:
    """Findings, or the sentence that there are none."""
    if not verdict.validity:
        return Markup("<p>The generator kept its schedule, metrics have no gaps, every fault was proven.</p>")
    return table(("", "finding", "why"), [(badge(f.status), f.name, f.why) for f in verdict.validity])
