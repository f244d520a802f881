"""After the heal DNS leads back to the first gateway once, without going to and fro, and nobody notices."""

from __future__ import annotations

import itertools

from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge.checks.dns_leads_away import Answer, answers, led_to
from harness.judge.checks.recovers_within import watched_until
from harness.judge.checks.since_fault import GAP_MAX_S
from harness.judge.drill import Check
from harness.model.verdict import CheckResult, Status

_OBJECTIVE = "≤ 1 switch back, 0 errors"


def check(gateway: str, phase: str) -> Check:
    """Whether DNS leads back to ``gateway`` after the heal of ``phase``, once, and no attempt from then on fails."""
    question = f"Does traffic come back to {gateway} after {phase} in one move that nobody notices?"
    needs = frozenset({"load", "metrics", "gateways", f"fault:{phase}"})
    return Check(
        "dns-fails-back",
        _name(gateway, phase),
        question,
        lambda view: _run(view, gateway, phase),
        needs,
        timing=False,
        phase=phase,
        subject=gateway,
    )


def _name(gateway: str, phase: str) -> str:
    return f"failback to {gateway} after {phase}"


def _run(view: RunView, gateway: str, phase: str) -> CheckResult:
    name = _name(gateway, phase)
    healed = [e.t_s for e in view.events("fault_healed", phase)]
    healing = [e.t_s for e in view.events("fault_healing", phase)]
    if not healed or not healing:
        return CheckResult(name, Status.INCONCLUSIVE, f"{phase} was not healed", _OBJECTIVE, phase=phase)
    if led_to(view, gateway, min(healing)) is not False:
        why = f"DNS was not seen to lead away from {gateway}, so it could not lead back"
        return CheckResult(name, Status.INCONCLUSIVE, why, _OBJECTIVE, phase=phase)
    begin, end = min(healing), watched_until(view, max(healed))
    found = answers(view, begin, end)
    gap_s = max(right - left for left, right in itertools.pairwise([begin, *(a.t_s for a in found), end]))
    if gap_s > GAP_MAX_S:
        why = f"DNS gave no answer for {gap_s:.1f} s after the heal: what it would have said is not known"
        return CheckResult(name, Status.INCONCLUSIVE, why, _OBJECTIVE, samples=len(found), phase=phase)
    return _judged(view, gateway, phase, found, max(healed), end)


def _judged(view: RunView, gateway: str, phase: str, found: list[Answer], healed: float, end: float) -> CheckResult:
    name, mine = _name(gateway, phase), view.address_of(gateway)
    ways = [False, *(mine in answer.addresses for answer in found)]
    switches = sum(left != right for left, right in itertools.pairwise(ways))
    back = next((answer.t_s for answer in found if mine in answer.addresses), None)
    if back is None:
        why = f"DNS never led back to {gateway} in the {end - healed:.0f} s after the heal"
        return CheckResult(name, Status.FAIL, why, _OBJECTIVE, samples=len(found), phase=phase)
    # From the answer before: the first clients may have gone back just after it.
    since = max((answer.t_s for answer in found if answer.t_s < back), default=healed)
    failed = _failed(view, since, end)
    if switches > 1:
        why = f"DNS changed its mind {switches} times after the heal"
    elif failed:
        why = f"{len(failed)} attempts failed after DNS had led back to {gateway}"
    else:
        why = (
            f"DNS led back to {gateway} once, {back - healed:.1f} s after the heal, and no attempt failed from then on"
        )
    return CheckResult(
        name,
        Status.FAIL if switches > 1 or failed else Status.PASS,
        why,
        _OBJECTIVE,
        float(switches),
        "switches",
        1.0 - switches,
        len(found),
        phase,
        tuple(dict.fromkeys(failed))[:5],
        {"back_s": back - healed, "failed": len(failed)},
    )


def _failed(view: RunView, begin: float, end: float) -> list[str]:
    """Requests with an attempt that was begun in that time and failed in it; later the next fault is to blame."""
    rows = view.requests[view.requests["start_s"].between(begin, end)]
    rows = rows[~rows["outcome"].isin(["ok", *NOT_OF_THE_SERVICE])]
    return [str(i) for i in rows["request_id"][rows["end_s"].lt(end)]]
