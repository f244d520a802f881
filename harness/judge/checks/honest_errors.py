"""Failed requests are told so: JSON error with type, code, message and request id, Retry-After where it helps."""

from __future__ import annotations

import pandas as pd

from harness.evidence.attempts import Attempts, example_ids
from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge.checks import streams
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status

_PARTS = ("type", "code", "message")
_COMES_BACK = (429, 502, 503, 504)  # statuses that must say when to try again


@with_arguments
def check(phase: str) -> Check:
    """Whether every failed attempt of ``phase`` got an honest error; for phases in which the gateways are well."""
    question = f"Does every request that fails in {phase} get a JSON error that says what happened and what to do?"
    needs = frozenset({"load", "gateways", f"fault:{phase}"})
    return Check(
        "honest-errors",
        f"honest errors in {phase}",
        question,
        lambda view: _run(view, phase),
        needs,
        timing=False,
        per_request=True,
        phase=phase,
    )


def _run(view: RunView, phase: str) -> CheckResult:
    name = f"honest errors in {phase}"
    failed, later = _failed(view.attempts(phase))
    if failed.empty:
        why = f"no attempt failed before its answer in {phase}, so no error could be looked at"
        return CheckResult(name, Status.INCONCLUSIVE, why, "every error is honest", samples=0, phase=phase)
    faults = _faults(failed)
    bad = faults[faults.notna()]
    if bad.empty:
        why = f"all {len(failed)} attempts that failed before an answer got a JSON error with their request id"
    else:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in bad.value_counts().items())
        why = f"{len(bad)} of {len(failed)} attempts that failed before an answer got no honest error: {kinds}"
    return CheckResult(
        name,
        Status.FAIL if len(bad) else Status.PASS,
        why + streams.broke_later(later),
        objective="0 dishonest errors",
        measured=float(len(bad)),
        unit="attempts",
        margin=0.0 - float(len(bad)),
        samples=len(failed),
        phase=phase,
        examples=example_ids(failed["request_id"][bad.index]),
        details={str(k): int(v) for k, v in bad.value_counts().items()},
    )


def _failed(rows: Attempts) -> tuple[Attempts, int]:
    """Attempts that failed before an answer had begun, and how many broke later: those have had their status.

    One that found no gateway, by DNS or by connecting, is of the first: where it was there to answer, it did not.
    """
    failed = rows[~rows["outcome"].isin(["ok", *NOT_OF_THE_SERVICE])]
    begun = failed["http_status"].eq(200)
    return failed[~begun], int(begun.sum())


def _faults(failed: Attempts) -> pd.Series:
    """What is wrong with each answer, the first thing found; null when nothing is."""
    wrong = pd.Series(None, index=failed.index, dtype=object)

    def mark(where: pd.Series, text: str) -> None:
        wrong[where & wrong.isna()] = text

    no_answer = failed["http_status"].isna()
    for outcome in sorted(failed["outcome"][no_answer].unique()):
        mark(no_answer & failed["outcome"].eq(outcome), f"no answer at all ({outcome})")
    lacking = {part: failed[f"error_{part}"].isna() | failed[f"error_{part}"].eq("") for part in _PARTS}
    none = pd.DataFrame(lacking).all(axis=1)
    for status in sorted(failed["http_status"][none & ~no_answer].unique()):
        mark(none & failed["http_status"].eq(status), f"HTTP {status:.0f} without a JSON error")
    for part, lacks in lacking.items():
        mark(lacks, f"an error without its {part}")
    mark(failed["error_request_id"].isna(), "an error without a request id")
    mark(failed["error_request_id"].ne(failed["request_id"]), "an error with another request's id")
    mark(failed["http_status"].isin(_COMES_BACK) & failed["retry_after_s"].isna(), "an error without Retry-After")
    return wrong
