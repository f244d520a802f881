"""Failed requests are told so: JSON error with type, code, message and request id, Retry-After where it helps."""

from __future__ import annotations

import pandas as pd

from harness.evidence.attempts import Attempts
from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge.drill import Check
from harness.model.verdict import CheckResult, Status

_COMES_BACK = (429, 502, 503, 504)  # statuses that must say when to try again


def check(phase: str) -> Check:
    """Whether every failed attempt of ``phase`` got an honest error; for phases in which the gateways are well."""
    question = f"Does every request that fails in {phase} get a JSON error that says what happened and what to do?"
    needs = frozenset({"load", "gateways", f"fault:{phase}"})
    return Check(
        f"honest errors in {phase}", question, lambda view: _run(view, phase), needs, timing=False, per_request=True
    )


def _run(view: RunView, phase: str) -> CheckResult:
    name = f"honest errors in {phase}"
    failed = _failed_at_gateway(view.attempts(phase))
    if failed.empty:
        why = f"no attempt failed before its answer in {phase}, so no error could be looked at"
        return CheckResult(name, Status.INCONCLUSIVE, why, "every error is honest", samples=0, phase=phase)
    faults = _faults(failed)
    bad = faults[faults.notna()]
    if bad.empty:
        why = f"all {len(failed)} failed attempts got a JSON error with their request id"
    else:
        kinds = bad.value_counts()
        why = f"{len(bad)} of {len(failed)} failed attempts got no honest error; {kinds.iloc[0]} × {kinds.index[0]}"
    return CheckResult(
        name,
        Status.FAIL if len(bad) else Status.PASS,
        why,
        objective="0 dishonest errors",
        measured=float(len(bad)),
        unit="attempts",
        margin=0.0 - float(len(bad)),
        samples=len(failed),
        phase=phase,
        examples=tuple(str(i) for i in failed["request_id"][bad.index].head(5)),
        details={str(k): int(v) for k, v in bad.value_counts().items()},
    )


def _failed_at_gateway(rows: Attempts) -> Attempts:
    """Attempts that failed before an answer had begun: a stream that breaks later has had its status.

    One that found no gateway, by DNS or by connecting, is one of them: where it was there to answer, it did not.
    """
    failed = ~rows["outcome"].isin(["ok", *NOT_OF_THE_SERVICE])
    begun = rows["http_status"].eq(200)
    return rows[failed & ~begun]


def _faults(failed: Attempts) -> pd.Series:
    """What is wrong with each answer, the first thing found; null when nothing is."""
    wrong = pd.Series(None, index=failed.index, dtype=object)

    def mark(where: pd.Series, text: str) -> None:
        wrong[where & wrong.isna()] = text

    no_answer = failed["http_status"].isna()
    for outcome in sorted(failed["outcome"][no_answer].unique()):
        mark(no_answer & failed["outcome"].eq(outcome), f"no answer at all ({outcome})")
    for column in ("error_type", "error_code", "error_message"):
        mark(failed[column].isna() | failed[column].eq(""), f"no {column.replace('_', '.', 1)} in the answer")
    mark(failed["error_request_id"].isna(), "no request id in the answer")
    mark(failed["error_request_id"].ne(failed["request_id"]), "another request's id in the answer")
    mark(failed["http_status"].isin(_COMES_BACK) & failed["retry_after_s"].isna(), "no Retry-After")
    return wrong
