"""The summary: what the load generator did, from what it counted and from what it recorded, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.load.generator import Tally
from harness.load.job import Job
from harness.load.recorder import Counts


def summary(job: Job, tallies: Sequence[Tally], counts: Counts) -> dict[str, Any]:
    """load-summary.json.

    Rates are first attempts per second until the stop: ``planned_rate_per_s`` as the schedule said for this very
    stretch (a Poisson schedule of 4/s rarely holds exactly 4/s), ``achieved_rate_per_s`` as they were begun.
    ``cpu_ratio`` is that of the busiest process: CPU time / wall time, 1.0 is one whole core. ``conserved`` says
    whether every scheduled request ended in exactly one final row. ``unwritten_…`` count those that ended, but
    whose rows could not be written, for the reason ``write_error``.
    """
    duration_s = max((tally.duration_s for tally in tallies), default=0.0)
    scheduled = sum(tally.scheduled for tally in tallies)
    in_flight = sum(tally.in_flight_at_end for tally in tallies)
    unwritten = sum(tally.unwritten_requests for tally in tallies)
    lag_ms = counts.lag_p99_ms()
    return {
        "scheduled_requests": scheduled,
        "attempts": counts.attempts,
        "outcomes_final": dict(counts.outcomes_final),
        "outcomes_attempts": dict(counts.outcomes_attempts),
        "in_flight_at_stop": sum(tally.in_flight_at_stop for tally in tallies),
        "in_flight_at_end": in_flight,
        "conserved": scheduled == counts.outcomes_final.total() + in_flight + unwritten,
        "unwritten_attempts": sum(tally.unwritten_attempts for tally in tallies),
        "unwritten_requests": unwritten,
        "write_error": next((tally.write_error for tally in tallies if tally.write_error), None),
        "cpu_ratio": round(max((tally.cpu_ratio for tally in tallies), default=0.0), 4),
        "schedule_lag_p99_ms": None if lag_ms is None else round(lag_ms, 3),
        "achieved_rate_per_s": _rate(sum(tally.started for tally in tallies), duration_s),
        "planned_rate_per_s": _rate(scheduled, duration_s),
        "duration_s": round(duration_s, 3),
        "workers": job.load.workers,
    }


def _rate(count: int, duration_s: float) -> float | None:
    return round(count / duration_s, 4) if duration_s else None
