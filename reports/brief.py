"""``report.md``: the run in a few lines, for a pull request or a chat. What servers said in it is text there, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.evidence.view import RunView
from harness.judge import slo
from harness.judge.checks import recovers_within
from harness.model.verdict import CheckResult, Status, Verdict
from reports.markdown import cut, text
from reports.panel import number

#: So many checks are listed, and so much is said of each.
CHECKS, WHY_CHARS = 10, 300
_RECOVERY = recovers_within.check("").id


def render(view: RunView, verdict: Verdict) -> str:
    """The document: verdict and reason, what is red or undecided, three figures, and where to read on."""
    plan = view.plan
    lines = [
        f"## {verdict.status.value}: {text(plan.get('title') or plan['drill'])}",
        "",
        text(verdict.reason),
        "",
        *_checks(verdict),
        "| figure | value | samples |",
        "|---|---|---|",
        *(f"| {' | '.join(map(text, row))} |" for row in _figures(view, verdict)),
        "",
        f"Run {text(plan['run_id'])}, seed {text(plan.get('seed', 'unknown'))}. "
        "The whole report: [report.html](report.html)",
    ]
    return "\n".join(lines) + "\n"


def _checks(verdict: Verdict) -> Iterator[str]:
    bad = [c for status in (Status.FAIL, Status.INCONCLUSIVE) for c in verdict.checks if c.status is status]
    for check in bad[:CHECKS]:
        yield f"- **{check.status.value}** {text(check.name)}: {text(cut(check.why, WHY_CHARS))}"
    if len(bad) > CHECKS:
        yield f"- and {len(bad) - CHECKS} more"
    if bad:
        yield ""


def _figures(view: RunView, verdict: Verdict) -> Iterator[tuple[str, str, str]]:
    """Availability, first token, and recovery, or what else the drill measured in seconds."""
    phases = [phase.name for phase in view.phases if phase.kind != "warmup"]
    for name, sli in (("availability", "availability"), ("TTFT p95 from schedule", "ttft_from_schedule_p95_ms")):
        yield name, *_pooled(view, sli, phases)
    times = [check for check in verdict.checks if check.measured is not None and check.unit == "s"]
    recovered = [check for check in times if check.id == _RECOVERY]
    if slowest := max(recovered or times[:1], key=_measured, default=None):
        name = "slowest recovery of users" if recovered else slowest.name
        yield name, number(_measured(slowest), "s"), "—" if slowest.samples is None else str(slowest.samples)


def _pooled(view: RunView, sli: str, phases: Sequence[str]) -> tuple[str, str]:
    """Value and samples over all these phases."""
    try:
        found = slo.measure(view, sli, phases)
    except Exception:  # records that cannot be read: the verdict, which comes first here, says so
        return "not measured", "—"
    return "not measured" if found.value is None else number(found.value, found.unit), str(found.samples)


def _measured(check: CheckResult) -> float:
    return check.measured or 0.0
