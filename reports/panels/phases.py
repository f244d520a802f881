"""The phases as they really were, with what users got in each."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup

from harness.evidence.attempts import Attempts, tally
from harness.evidence.phases import PhaseSpan
from harness.evidence.view import RunView
from harness.judge import per_phase
from harness.judge.sli import Measurement
from harness.model.verdict import Verdict
from reports.panel import number, table

ORDER, TITLE = 40, "Phases"
#: Indicators, each with its name in ``per_phase``.
COLUMNS = {
    "availability": "availability",
    "ttft_p50_ms": "ttft",
    "ttft_from_schedule_p95_ms": "ttft_from_schedule",
    "e2e_p50_ms": "e2e",
    "retry_amplification": "retry_amplification",
}


def html(view: RunView, verdict: Verdict) -> Markup:
    """One row per phase that was started, and one for requests of none. Every recorded request is in one of them.

    Requests across a fault's edges count with the fault's phase.
    """
    # A column of the table at a time: what it is computed from is read once, and not once for every phase.
    measured = [
        [_value(per_phase.measurements(view, stem).get((name, phase.name)), phase) for phase in view.phases]
        for name, stem in COLUMNS.items()
    ]
    rows = [_row(view, phase, values) for phase, *values in zip(view.phases, *measured, strict=True)]
    judged = view.requests["judged_phase"]
    outside = view.requests[~judged.isin([phase.name for phase in view.phases])]
    if len(outside):
        rows.append(("of no phase", "", "—", "—", *_counts(outside), *("—" for _ in COLUMNS)))
    said = Markup("<p>{:,} requests in {:,} attempts, all of them in this table.</p>")
    note = "Tokens as the servers counted them; broken off: events of streams that began and did not end well."
    return (
        said.format(len(view.final), len(view.requests))
        + table(HEAD, rows)
        + Markup("<p><small>{}</small></p>").format(note)
    )


HEAD = (
    "phase", "kind", "from", "lasted", "requests", "outcomes", "retries", "tokens in", "tokens out",
    "tokens broken off", "availability", "TTFT p50", "TTFT p95 from schedule", "e2e p50", "attempts/request",
)  # fmt: skip


def _row(view: RunView, phase: PhaseSpan, values: list[object]) -> tuple[object, ...]:
    lasted = "unfinished" if phase.end_s is None else f"{phase.end_s - phase.start_s:.1f} s"
    return phase.name, phase.kind, f"{phase.start_s:.1f} s", lasted, *_counts(view.attempts(phase.name)), *values


def _counts(attempts: Attempts) -> tuple[object, ...]:
    """Requests, their outcomes, retries, and tokens."""
    final = attempts[attempts["final"].eq(True)]
    outcomes = ", ".join(f"{name} {count}" for name, count in tally(final["outcome"]).items())
    broken = attempts[attempts["outcome"].ne("ok") & attempts["ttft_ms"].notna()]
    tokens = [_sum(rows[column]) for rows, column in
              ((attempts, "prompt_tokens"), (attempts, "output_tokens"), (broken, "content_events"))]  # fmt: skip
    return len(final), outcomes, len(attempts) - len(final), *tokens


def _sum(column: pd.Series) -> str | None:
    """Of the known ones; None where none is known of those that there are."""
    known = column.dropna()
    return None if len(column) and known.empty else f"{int(known.sum()):,}"


def _value(measured: Measurement | None, phase: PhaseSpan) -> object:
    """The number; without one whether requests were too few, missing, or not meant to be."""
    if measured is None:
        return None
    if measured.value is not None:
        return number(measured.value, measured.unit)
    if phase.kind == "quiet" and not measured.samples:
        return "—"
    return Markup('<span class="nodata">too few</span>') if measured.samples else None
