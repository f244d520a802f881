"""The service was in its steady state at the end of a phase: asked during the run, and seen in the records.

After a heal, not reached is a FAIL; before the first fault the judge makes that INCONCLUSIVE (docs/metrics.md).
"""

from __future__ import annotations

import pandas as pd

from harness.evidence.attempts import Attempts, example_ids
from harness.evidence.record import Event
from harness.evidence.view import RunView
from harness.judge import request_limits
from harness.judge.checks.shapes import asks
from harness.judge.slo import NotMeasured
from harness.model.scenario import RequestLimits
from harness.model.verdict import CheckResult, Status

STRETCH_S = 10.0  # of runs that did not record theirs
REQUESTS_MIN = 40
WITHIN_MIN = 95.0
#: The gate has counted its 40 as they ended; fewer may have begun in the stretch and met no fault.
RECORDS_MIN = 20


@asks(
    "steady-state",
    "steady state in {phase}",
    "Was the service in its steady state at the end of {phase}?",
    "load", "phase:{phase}",
    timing=True, steady=True, promises=("{phase}",),
    # Without it nothing more is injected: that the run ends early is a consequence.
    despite=frozenset({"run complete"}),
)  # fmt: skip
def check(view: RunView, phase: str) -> CheckResult:
    """Whether the steady state was reached at the end of ``phase``."""
    asked = view.events("steady_state", phase)
    if not asked:
        raise NotMeasured(f"nobody asked for the steady state in {phase}")
    rows = _of_stretch(view, asked[-1])
    bad = rows[~rows["within"]]
    within = None if rows.empty else 100.0 * (1 - len(bad) / len(rows))
    status, why = _judge(asked[-1], rows)
    objective = f"≥ {WITHIN_MIN:.6g} % of ≥ {REQUESTS_MIN} requests good and within the SLO limits"
    margin = None if within is None else within - WITHIN_MIN
    examples = example_ids(bad["request_id"])
    return CheckResult("", status, why, objective, within, "%", margin, len(rows), examples=examples)


def _judge(said: Event, rows: pd.DataFrame) -> tuple[Status, str]:
    bad = int((~rows["within"]).sum())
    recorded = f"by the records {len(rows) - bad} of {len(rows)} requests were good and within the SLO limits"
    if not said.data.get("reached"):
        return Status.FAIL, f"it was not reached: {said.data.get('why', 'no reason given')}; {recorded}"
    if len(rows) < RECORDS_MIN:
        return Status.INCONCLUSIVE, f"only {len(rows)} requests lie in its stretch, {RECORDS_MIN} are needed"
    if bad > (1 - WITHIN_MIN / 100) * max(len(rows), REQUESTS_MIN):
        why = f"it was reported as reached, but the records show {bad} of {len(rows)} requests bad or late"
        return Status.FAIL, why
    if bad > (1 - WITHIN_MIN / 100) * len(rows):
        why = f"{bad} of {len(rows)} requests in its stretch were bad or late: too few to tell"
        return Status.INCONCLUSIVE, why
    return Status.PASS, f"{recorded} until the next phase; during the run: {said.data.get('why', 'it was reached')}"


def _of_stretch(view: RunView, said: Event) -> pd.DataFrame:
    """The requests that were meant to start in the stretch, and whether they were good and ``within`` their limits.

    The stretch lasts until the next phase: what was reached has to be kept. Without requests that were cancelled, and
    those that met a fault.
    """
    until_s = kept_until_s(view, said) if said.data.get("reached") else said.t_s
    rows = view.final[view.final["intended_start_s"].between(begin_s(said), until_s)]
    rows = rows[~rows["outcome"].isin(("cancelled_intended", "cancelled_drain"))]
    rows = rows[~rows["judged_phase"].isin(view.fault_phases)]
    limits = request_limits.of(view.scenario)
    # Before the first fault no attempt should be in vain: a user who is refused at first, and answered at once three
    # seconds later, has waited for three seconds. After one, the first to come may be refused until all is back.
    since = "_from_schedule" if view.before_first_fault(str(said.data.get("phase"))) else ""
    late = _beyond(rows, f"ttft{since}_ms", "ttft_ms", limits) | _beyond(rows, f"e2e{since}_ms", "e2e_ms", limits)
    return rows[["request_id"]].assign(within=rows["outcome"].eq("ok") & ~late)


def begin_s(said: Event) -> float:
    """Since when the stretch lasts that an event ``steady_state`` speaks of, in seconds since the run's zero."""
    since_s = said.data.get("since_s")
    return said.t_s - STRETCH_S if since_s is None else float(since_s)


def kept_until_s(view: RunView, said: Event) -> float:
    """Until when a steady state that was reached has to be kept: the next phase, or the end of the last one."""
    following = [span.start_s for span in view.phases if span.start_s > said.t_s]
    return min(following, default=max([said.t_s, *(s.end_s for s in view.phases if s.end_s is not None)]))


def _beyond(rows: Attempts, column: str, limited: str, limits: dict[str, RequestLimits]) -> pd.Series:
    """Marks what took longer than its cohort's limit; what was not measured breaks none."""
    limit = rows["cohort"].map({name: getattr(of, limited) for name, of in limits.items()}).astype(float)
    return rows[column].astype(float).gt(limit.fillna(float("inf")))
