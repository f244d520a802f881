"""A fault that the gateways can work around never reaches the clients, not even as something that they retry."""

from __future__ import annotations

from harness.evidence.attempts import example_ids, tally
from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge.checks.streams import broke_later
from harness.judge.drill import Check
from harness.model.verdict import CheckResult, Status

ATTEMPTS_MIN = 20


def check(phase: str, at_most_percent: float = 1.0) -> Check:
    """Whether the gateways hide the fault of ``phase``: client attempts that they refuse or leave without answer.

    Availability cannot tell: it counts requests, and a client that tries again makes good what a gateway should have
    done. Streams that had begun are left out: nobody can repeat those for the user.
    """
    question = f"Do the gateways keep the fault in {phase} from their clients by trying elsewhere?"
    needs = frozenset({"load", "gateways", f"fault:{phase}"})
    return Check(
        "failures-hidden",
        _name(phase),
        question,
        lambda view: _run(view, phase, at_most_percent),
        needs,
        timing=True,
        per_request=True,
        phase=phase,
    )


def _name(phase: str) -> str:
    return f"failures hidden in {phase}"


def _run(view: RunView, phase: str, at_most: float) -> CheckResult:
    name, span, objective = _name(phase), view.phase(phase), f"≤ {at_most:.6g} %"
    if span is None or span.fault_start_s is None or span.fault_end_s is None:
        return CheckResult(name, Status.INCONCLUSIVE, f"{phase} was not injected and healed", objective, phase=phase)
    rows = view.attempts(phase)
    rows = rows[rows["start_s"].between(span.fault_start_s, span.fault_end_s)]
    rows = rows[~rows["outcome"].isin(NOT_OF_THE_SERVICE)]
    if len(rows) < ATTEMPTS_MIN:
        why = f"{len(rows)} attempts in {phase} are too few, {ATTEMPTS_MIN} are needed"
        return CheckResult(name, Status.INCONCLUSIVE, why, objective, samples=len(rows), phase=phase)
    failed = rows["outcome"].ne("ok")
    shown = failed & ~rows["http_status"].eq(200)
    measured = 100.0 * float(shown.mean())
    later = broke_later(int(failed.sum() - shown.sum()))
    kinds = tally(rows["outcome"][shown])
    what = "" if kinds.empty else ": " + ", ".join(f"{n} × {outcome}" for outcome, n in sorted(kinds.items()))
    return CheckResult(
        name,
        Status.PASS if measured <= at_most else Status.FAIL,
        f"{int(shown.sum())} of {len(rows)} attempts were refused or left without an answer{what}{later}",
        objective,
        measured,
        "%",
        at_most - measured,
        len(rows),
        phase,
        example_ids(rows["request_id"][shown]),
    )
