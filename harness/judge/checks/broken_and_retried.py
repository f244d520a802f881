"""What was on its way through a dead gateway breaks visibly, and its users try again until they are served."""

from __future__ import annotations

import pandas as pd

from harness.evidence.attempts import Rows, tally
from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge.checks.since_fault import SinceFault
from harness.judge.drill import Check
from harness.judge.possible import SILENCE
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status

#: What had left the gateway before the fault may be read by its client so much later.
ON_ITS_WAY_S = 0.5
_OBJECTIVE = "0 requests lost or falsely ok"


def check(gateway: str, phase: str) -> Check:
    """Whether no attempt through ``gateway`` ended ok while that was dead, and each that died there was made good.

    Made good: a later attempt ended ok, or the user was told the truth in the end, by a JSON error with a status.
    """
    question = f"Does what was on its way through {gateway} in {phase} break visibly, and is it asked for again?"
    needs = frozenset({"load", "gateways", f"fault:{phase}"})
    despite = frozenset({SILENCE})  # an answer of the dead is what it fails on
    return Check(
        "broken-requests-retried",
        _name(gateway, phase),
        question,
        lambda view: _run(view, gateway, phase),
        needs,
        timing=False,
        despite=despite,
        phase=phase,
        subject=gateway,
    )


def _name(gateway: str, phase: str) -> str:
    return f"broken visibly and retried through {gateway} in {phase}"


def _run(view: RunView, gateway: str, phase: str) -> CheckResult:
    name = _name(gateway, phase)
    try:
        fault = SinceFault.of(view, phase)
    except NotMeasured as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), _OBJECTIVE, phase=phase)
    rows = view.requests[view.requests["gateway"].eq(view.address_of(gateway))]
    rows = rows[~rows["outcome"].isin(NOT_OF_THE_SERVICE)]
    ends = rows["end_s"]
    # A gateway may die as soon as the order is on its way, before that is known to be carried out.
    ordered_s = min(e.t_s for e in view.events("fault_injecting", phase))
    rows = rows[rows["start_s"].le(fault.end_s) & ends.ge(ordered_s)]
    ok = rows["outcome"].eq("ok")
    false = rows[ok & ends[rows.index].between(fault.begin_s + ON_ITS_WAY_S, fault.end_s, inclusive="neither")]
    died = rows[~ok]
    lost = died[died["request_id"].isin(_lost(view, died))]
    if died.empty and false.empty:
        why = f"nothing was on its way through {gateway} when it died, so nothing could break"
        return CheckResult(name, Status.INCONCLUSIVE, why, _OBJECTIVE, samples=0, phase=phase)
    bad = list(dict.fromkeys([*false["request_id"], *lost["request_id"]]))
    return CheckResult(
        name,
        Status.FAIL if bad else Status.PASS,
        _why(gateway, died, false, lost),
        _OBJECTIVE,
        float(len(bad)),
        "requests",
        0.0 - float(len(bad)),
        len(died) + len(false),
        phase,
        tuple(str(i) for i in bad[:5]),
        {str(k): int(v) for k, v in tally(died["outcome"]).sort_index().items()},
    )


def _lost(view: RunView, died: Rows) -> pd.Series:
    """Request ids whose last word is neither an answer nor an honest refusal."""
    final = view.final[view.final["request_id"].isin(died["request_id"])]
    told = final["http_status"].ge(400) & final["error_type"].notna() & final["error_request_id"].notna()
    ended = final["request_id"][final["outcome"].eq("ok") | told]
    return died["request_id"][~died["request_id"].isin(ended)]


def _why(gateway: str, died: Rows, false: Rows, lost: Rows) -> str:
    if len(false):
        return f"{len(false)} attempts through {gateway} ended ok while it could not have finished them"
    streams = int(died["http_status"].eq(200).sum())
    seen = f"{len(died)} attempts died at {gateway}, {streams} of them in mid-stream"
    if len(lost):
        return f"{seen}; {lost['request_id'].nunique()} requests of these were never answered, nor honestly refused"
    return f"{seen}; every one of them was asked for again, and answered or honestly refused"
