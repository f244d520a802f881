"""Users are served at the first try again while the fault is still in place: they have moved elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.evidence.attempts import Attempts
from harness.evidence.view import RunView
from harness.judge.checks import since_fault
from harness.judge.checks.recovers_within import GOOD_MIN, REQUESTS_MIN, WINDOW_S, recovery_s
from harness.judge.checks.since_fault import SinceFault
from harness.judge.drill import Check, with_arguments
from harness.judge.slis.goodput import within_limits
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status


@with_arguments
def check(phase: str, within: str) -> Check:
    """Whether requests are good at their first attempt from ``within`` (an expression) after the injection on.

    At the first: a client that tries again in vain until it gets through has not recovered, it only copes.
    And before the heal: whom only the heal has freed was not served elsewhere.
    """
    question = f"Are users served at the first try again soon after the fault in {phase}, which is still in place?"
    needs = frozenset({"load", f"fault:{phase}"})
    return Check(
        "users-move",
        _name(phase),
        question,
        lambda view: _run(view, phase, within),
        needs,
        timing=True,
        per_request=True,
        phase=phase,
    )


def _name(phase: str) -> str:
    return f"users move in {phase}"


def _run(view: RunView, phase: str, within: str) -> CheckResult:
    name = _name(phase)
    try:
        target, fault = since_fault.limit(view, within), SinceFault.of(view, phase)
    except NotMeasured as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), f"≤ {within}", phase=phase)
    rows = view.final[view.final["intended_start_s"].between(fault.begin_s, fault.end_s)]
    rows = rows[rows["outcome"].ne("cancelled_intended")].sort_values("intended_start_s", kind="stable")
    problems = _problems(rows, view, fault)
    good = problems.isna().to_numpy(dtype=bool)
    starts = rows["intended_start_s"].to_numpy(dtype=np.float64) - fault.begin_s
    seconds, windows = recovery_s(starts, good, fault.end_s - fault.begin_s)
    if windows == 0:
        why = f"only {len(rows)} requests while the fault was in place: not one window of {REQUESTS_MIN}"
        return CheckResult(name, Status.INCONCLUSIVE, why, target.text, samples=len(rows), phase=phase)
    why = f"from {{s}} after the fault on at least {GOOD_MIN:.0%} of the requests were good at the first try"
    last = problems[(fault.end_s - rows["intended_start_s"]).le(WINDOW_S)]
    never = "users were not served at the first try again before the fault was healed"
    never += f"; of {len(last)} requests in the last {WINDOW_S:g} s "
    never += ", ".join(f"{count} {problem}" for problem, count in last.value_counts().items())
    ms = None if seconds is None else 1000 * seconds
    return since_fault.judged(name, phase, target, ms, why, never, len(rows))


def _problems(rows: Attempts, view: RunView, fault: SinceFault) -> pd.Series:
    """Per request, what was wrong with it; None where it was good at its first try."""
    found = pd.Series(None, index=rows.index, dtype=object)
    found[~fault.served(rows, view)] = "were only answered after the heal"
    found[rows["attempt"].gt(1)] = "took another try"
    found[~within_limits(rows, view)] = "failed or took longer than clients wait"
    return found
