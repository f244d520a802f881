"""Users are served again soon after a heal (docs/metrics.md)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.evidence.attempts import Attempts
from harness.evidence.view import RunView
from harness.judge.checks.fault_window import healed_s
from harness.judge.checks.shapes import asks
from harness.judge.slis.goodput import within_limits
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status

#: Seconds after a heal within which users have to be served again, in every drill.
WITHIN_S = 10
WINDOW_S = 5.0
REQUESTS_MIN = 20
GOOD_MIN = 0.95
EARLY_ENDS = ("stop_condition", "aborted", "interrupted")


@asks(
    "users-recover",
    "recovery after {phase}",
    "Are users served again within {seconds:g} s of healing {phase}?",
    "load", "fault:{phase}",
    timing=True, per_request=True, after_heal=True, objective="≤ {seconds:.6g} s",
    # A service that does not recover triggers a stop condition, or keeps the next fault from being injected.
    despite=frozenset({"run complete"}),
)  # fmt: skip
def check(view: RunView, phase: str, seconds: float = WITHIN_S) -> CheckResult:
    """Whether users were served again within ``seconds`` of the heal of ``phase``."""
    healed = healed_s(view, phase)
    end = watched_until(view, healed)
    rows, good = _watched(view, healed, end)
    recovered, windows = recovery_s(rows["intended_start_s"].to_numpy(dtype=float) - healed, good, end - healed)
    if windows == 0:
        why = f"only {len(rows)} requests until the next fault or the end: not one window of {REQUESTS_MIN}"
        raise NotMeasured(why, len(rows))
    known_s = float(rows["intended_start_s"].max()) - healed
    if recovered is None and end == _early_end(view) and known_s < seconds:
        why = f"users were not served again, but the run ended early: only {known_s:.1f} s after the heal are known"
        status = Status.INCONCLUSIVE
    elif recovered is None:
        why = f"users were not served again in the {end - healed:.0f} s after the heal"
        status = Status.FAIL
    else:
        why = f"from {recovered:.1f} s after the heal on at least {GOOD_MIN:.0%} of the requests were good"
        status = Status.PASS if recovered <= seconds else Status.FAIL
    margin = None if recovered is None else seconds - recovered
    bad = tuple(str(i) for i in rows["request_id"][~good].tail(5))
    return CheckResult("", status, why, "", recovered, "s", margin, len(rows), examples=bad)


def _watched(view: RunView, healed: float, end: float) -> tuple[Attempts, npt.NDArray[np.bool_]]:
    """The requests that tell of a recovery, by their intended start, and which of them were good."""
    rows = view.final
    # Requests that the next fault hit are that fault's, whenever they were meant to start.
    rows = rows[rows["intended_start_s"].between(healed, end) & ~rows["judged_phase"].isin(view.fault_phases)]
    rows = rows[rows["outcome"].ne("cancelled_intended") & ~_unknown(rows, view)]
    rows = rows.sort_values("intended_start_s", kind="stable")
    return rows, within_limits(rows, view).to_numpy(dtype=bool)


def watched_until(view: RunView, healed: float) -> float:
    """Until when recovery may be watched: the next injection, else the end of the last phase or of the run."""
    following = [s.fault_start_s for s in view.phases if s.fault_start_s is not None and s.fault_start_s > healed]
    ends = [_early_end(view) if s.end_s is None else s.end_s for s in view.phases]
    return min(following) if following else max((end for end in ends if end is not None), default=healed)


def _early_end(view: RunView) -> float | None:
    """When the run ended early, in seconds since its zero; None where it did not."""
    return min((e.t_s for kind in EARLY_ENDS for e in view.events(kind)), default=None)


def _unknown(rows: Attempts, view: RunView) -> pd.Series:
    """Requests that the end of the load cut off while they could still have been answered within the limits."""
    in_time = rows["e2e_from_schedule_ms"].le(view.limits.first_token * 1000) | rows["ttft_ms"].notna()
    return rows["outcome"].eq("cancelled_drain") & in_time


def recovery_s(
    starts: npt.NDArray[np.float64], good: npt.NDArray[np.bool_], horizon: float
) -> tuple[float | None, int]:
    """Seconds after the heal from which every window is good, and how many windows there were.

    ``starts`` are intended starts after the heal, ascending. A window begins right after a request (or at the heal)
    and spans 5 s, or as long as it takes to hold 20 requests; it counts when it lies before ``horizon``.
    """
    begins = np.concatenate([[0.0], starts[:-1]]) if len(starts) else np.zeros(0)
    first = np.arange(len(starts))
    last = np.maximum(np.searchsorted(starts, begins + WINDOW_S, side="right"), first + REQUESTS_MIN)  # exclusive
    complete = (last <= len(starts)) & (begins + WINDOW_S <= horizon)
    if not complete.any():
        return None, 0
    total = np.concatenate([[0], np.cumsum(good)])
    first, last = first[complete], last[complete]
    fine = (total[last] - total[first]) >= GOOD_MIN * (last - first)
    if fine.all():
        return 0.0, len(first)
    worst = int(np.flatnonzero(~fine)[-1])
    return (float(begins[first[worst + 1]]) if worst + 1 < len(first) else None), len(first)
