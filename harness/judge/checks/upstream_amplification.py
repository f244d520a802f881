"""The gateways do not turn one client attempt into many upstream ones."""

from __future__ import annotations

import pandas as pd

from harness.evidence.view import RunView
from harness.judge.drill import Check
from harness.model.verdict import CheckResult, Status


def check(phase: str) -> Check:
    """Whether upstream sessions per client attempt stay within 1 + the gateways' retries in ``phase``."""
    question = f"Do the gateways keep their own retries bounded in {phase}?"
    needs = frozenset({"load", "metrics", "gateways", f"fault:{phase}"})
    return Check(
        "upstream-amplification",
        f"upstream amplification in {phase}",
        question,
        lambda view: _run(view, phase),
        needs,
        timing=False,
        phase=phase,
    )


def _run(view: RunView, phase: str) -> CheckResult:
    name, span = f"upstream amplification in {phase}", view.phase(phase)
    if span is None or span.end_s is None or "retries" not in view.gateway_policy:
        why = f"{phase} has no end, or the plan has no gateway policy"
        return CheckResult(name, Status.INCONCLUSIVE, why, phase=phase)
    most = 1 + view.gateway_policy["retries"]
    growth = [_growth(view, g, r, span.start_s, span.end_s) for g in view.gateways for r in view.replicas]
    known = [found for found in growth if found is not None]
    attempts = _in_flight(view, min((b for b, _, _ in known), default=0), max((e for _, e, _ in known), default=0))
    if len(known) < len(growth) or attempts == 0:
        why = "the gateways' session counters were not sampled" if attempts else f"there were no attempts in {phase}"
        return CheckResult(name, Status.INCONCLUSIVE, why, f"≤ {most:g}", samples=attempts, phase=phase)
    sessions = sum(count for _, _, count in known)
    measured = sessions / attempts
    return CheckResult(
        name,
        Status.PASS if measured <= most else Status.FAIL,
        f"{sessions:.0f} upstream sessions for {attempts} client attempts in flight, {measured:.2f} each",
        objective=f"≤ {most:.6g} (1 + {most - 1:.6g} retries)",
        measured=measured,
        unit="sessions per attempt",
        margin=most - measured,
        samples=attempts,
        phase=phase,
    )


def _growth(view: RunView, gateway: str, replica: str, begin: float, end: float) -> tuple[float, float, float] | None:
    """The samples that enclose the phase and what the counter gained between them; restarts count from 0."""
    samples = view.metrics(gateway, "server_sessions_total", f"server={replica}")
    times = samples["t_s"]
    first, last = times[times.le(begin)].max(), times[times.ge(end)].min()
    if pd.isna(first) or pd.isna(last):
        return None
    values = samples["value"][times.between(first, last)].to_numpy(dtype=float)
    steps = values[1:] - values[:-1]
    return float(first), float(last), float(steps.clip(min=0).sum() + values[1:][steps < 0].sum())


def _in_flight(view: RunView, begin: float, end: float) -> int:
    """Attempts that a gateway can have seen in that time: each upstream session in it is one of theirs."""
    rows = view.requests[view.requests["first_byte_sent_s"].notna()]
    ends = rows["end_s"]
    return int((rows["start_s"].le(end) & ends.ge(begin)).sum())
