"""Nobody waits for ever: no attempt lasts longer than its total limit, and none has to be ended by it."""

from __future__ import annotations

from harness.evidence.attempts import example_ids
from harness.evidence.view import RunView
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status

TOLERANCE_S = 0.5  # for the client to notice its own deadline on a busy machine


@with_arguments
def check(phase: str) -> Check:
    """Whether every attempt of ``phase`` ended by itself within the clients' total limit."""
    question = f"Does every request of {phase} end within its deadline?"
    needs = frozenset({"load", f"fault:{phase}"})
    return Check(
        "no-hang",
        f"no hang in {phase}",
        question,
        lambda view: _run(view, phase),
        needs,
        timing=True,
        per_request=True,
        phase=phase,
    )


def _run(view: RunView, phase: str) -> CheckResult:
    name, limit_ms = f"no hang in {phase}", view.limits.total * 1000
    rows = view.attempts(phase)
    rows = rows[~rows["outcome"].isin(["not_sent", "cancelled_intended"])]
    if rows.empty:
        return CheckResult(name, Status.INCONCLUSIVE, f"there were no attempts in {phase}", samples=0, phase=phase)
    hung = rows["outcome"].eq("timeout_total") | rows["e2e_ms"].gt(limit_ms + TOLERANCE_S * 1000)
    endless = rows["e2e_ms"].isna()
    longest = float(rows["e2e_ms"].max()) if rows["e2e_ms"].notna().any() else None
    if hung.any():
        status, why = Status.FAIL, f"{int(hung.sum())} of {len(rows)} attempts ran into their total limit"
    elif endless.any():
        status, why = Status.INCONCLUSIVE, f"{int(endless.sum())} attempts have no recorded end"
    else:
        status, why = Status.PASS, f"the longest of {len(rows)} attempts took {longest:.0f} ms"
    return CheckResult(
        name,
        status,
        why,
        objective=f"≤ {limit_ms:.6g} ms",
        measured=longest,
        unit="ms",
        margin=None if longest is None else limit_ms - longest,
        samples=len(rows),
        phase=phase,
        examples=example_ids(rows["request_id"][hung | endless]),
    )
