"""The phases as they really were, with what users got in each."""

from __future__ import annotations

from markupsafe import Markup

from harness.evidence.attempts import tally
from harness.evidence.phases import PhaseSpan
from harness.evidence.view import RunView
from harness.judge import slo
from harness.judge.sli import Measurement
from harness.model.verdict import Verdict
from reports.panel import number, table

ORDER, TITLE = 40, "Phases"
COLUMNS = ("availability", "ttft_p50_ms", "ttft_from_schedule_p95_ms", "e2e_p50_ms", "retry_amplification")


def html(view: RunView, verdict: Verdict) -> Markup:
    """One row per phase that was started. Requests across a fault's edges count with the fault's phase."""
    head = ("phase", "kind", "from", "lasted", "requests", "availability", "TTFT p50", "TTFT p95 from schedule",
            "e2e p50", "attempts/request", "outcomes")  # fmt: skip
    return table(head, [_row(view, phase) for phase in view.phases])


def _row(view: RunView, phase: PhaseSpan) -> tuple[object, ...]:
    final = view.final[view.final["judged_phase"].eq(phase.name)]
    lasted = "unfinished" if phase.end_s is None else f"{phase.end_s - phase.start_s:.1f} s"
    measured = [slo.measure(view, name, [phase.name]) for name in COLUMNS]
    values = [_value(m, phase) for m in measured]
    counts = tally(final["outcome"])
    outcomes = ", ".join(f"{name} {count}" for name, count in counts.items())
    return phase.name, phase.kind, f"{phase.start_s:.1f} s", lasted, len(final), *values, outcomes


def _value(measured: Measurement, phase: PhaseSpan) -> object:
    """The number; without one whether requests were too few, missing, or not meant to be."""
    if measured.value is not None:
        return number(measured.value, measured.unit)
    if phase.kind == "quiet" and not measured.samples:
        return "—"
    return Markup('<span class="nodata">too few</span>') if measured.samples else None
