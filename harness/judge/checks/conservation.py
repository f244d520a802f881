"""No request vanishes: scheduled = Σ final outcomes + in flight, in total and per phase; attempts likewise."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pandas as pd

from harness.evidence.attempts import Attempts
from harness.evidence.record import OUTCOMES
from harness.evidence.view import RunView
from harness.judge.checks.shapes import asks
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status


@asks(
    "requests-conserved",
    "conservation",
    "Is every scheduled request accounted for, once?",
    safety=True, timing=False,
)  # fmt: skip
def check(view: RunView) -> CheckResult:
    """The check; a safety check: it holds in invalid runs too."""
    requests, summary = view.requests, view.summary
    if summary is None:
        why = "the load generator left no summary: nobody knows how many requests were scheduled"
        raise NotMeasured(why, len(view.final))
    scheduled = int(summary["scheduled_requests"])
    if scheduled == 0:
        raise NotMeasured("no request was scheduled", 0)
    if requests.empty:
        raise NotMeasured(f"{scheduled} requests were scheduled, but no attempt at all is recorded", 0)
    if unwritten := int(summary.get("unwritten_attempts", 0)):
        return _unwritten(view, summary, unwritten)
    leaks = [*_totals(view, summary), *_outcomes(requests), *_finals(requests), *_per_phase(requests)]
    missing = scheduled - len(view.final) - int(summary["in_flight_at_end"])
    why = leaks[0] if leaks else f"all {scheduled} scheduled requests and {len(requests)} attempts are accounted for"
    return _unaccounted(missing, scheduled, Status.FAIL if leaks else Status.PASS, why, details={"leaks": leaks})


def _unaccounted(missing: int, scheduled: int, status: Status, why: str, **more: Any) -> CheckResult:
    count = float(abs(missing))
    return CheckResult("", status, why, "0 unaccounted", count, "requests", 0.0 - count, scheduled, **more)


def _unwritten(view: RunView, summary: dict[str, object], attempts: int) -> CheckResult:
    """INCONCLUSIVE for rows that could not be written; FAIL when further requests are missing."""
    scheduled, lost = int(str(summary["scheduled_requests"])), int(str(summary["unwritten_requests"]))
    missing = scheduled - len(view.final) - int(str(summary["in_flight_at_end"])) - lost
    if missing:
        why = f"{abs(missing)} of {scheduled} requests are unaccounted for, besides {lost} that could not be written"
        return _unaccounted(missing, scheduled, Status.FAIL, why)
    why = f"{attempts} attempts could not be written: {summary.get('write_error') or 'no reason given'}"
    return dataclasses.replace(_unaccounted(missing, scheduled, Status.INCONCLUSIVE, why), margin=None)


def _totals(view: RunView, summary: dict[str, object]) -> Iterator[str]:
    in_flight = int(str(summary["in_flight_at_end"]))
    for what, scheduled, counted in (
        ("requests", int(str(summary["scheduled_requests"])), len(view.final) + in_flight),
        ("attempts", int(str(summary["attempts"])), len(view.requests)),
    ):
        if scheduled != counted:
            yield f"{scheduled} {what} by the generator's count, but {counted} are recorded"
    for field, rows in (("outcomes_final", view.final), ("outcomes_attempts", view.requests)):
        said = summary.get(field)
        told = {str(k): int(v) for k, v in said.items() if v} if isinstance(said, dict) else None
        found = {str(k): int(v) for k, v in rows["outcome"].value_counts().items()}
        if told is not None and told != found:
            yield f"{field} by the generator's count are {told}, recorded are {found}"


def _outcomes(requests: Attempts) -> Iterator[str]:
    unknown = requests[~requests["outcome"].isin(OUTCOMES)]
    if len(unknown):
        yield f"{len(unknown)} attempts have no known outcome, such as {unknown['outcome'].iloc[0]!r}"


def _finals(requests: Attempts) -> Iterator[str]:
    """Each request has attempts 1, 2, … n, and the n-th is the final one."""
    numbers, ids = pd.factorize(requests["request_id"])
    attempts = pd.DataFrame(
        {"request": numbers, "attempt": requests["attempt"].array, "final": requests["final"].eq(True).array}
    )
    grouped = attempts[numbers >= 0].groupby("request")
    finals = grouped["final"].sum()
    if (finals != 1).any():
        example = min(ids[finals.index[finals.ne(1)]])
        yield f"{int((finals != 1).sum())} requests have not exactly one final attempt, such as {example}"
    if (grouped["attempt"].max() != grouped["attempt"].size()).any() or attempts.duplicated(
        ["request", "attempt"]
    ).any():
        yield "the attempts of a request are not numbered 1, 2, … without gaps"


def _per_phase(requests: Attempts) -> Iterator[str]:
    """What began in a phase has ended as a request of that phase; null is before the first phase."""
    for column in ("phase", "judged_phase"):
        key = requests[column].astype(object).where(requests[column].notna(), "(none)")
        begun = key[requests["attempt"].eq(1)].value_counts()
        ended = key[requests["final"].eq(True)].value_counts()
        for phase in sorted(set(begun.index) | set(ended.index)):
            if int(begun.get(phase, 0)) != int(ended.get(phase, 0)):
                yield f"{begun.get(phase, 0)} requests began in {phase}, but {ended.get(phase, 0)} ended as its own"
