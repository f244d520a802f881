"""No request vanishes: scheduled = Σ final outcomes + in flight, in total and per phase; attempts likewise."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from harness.evidence.attempts import Attempts, tally
from harness.evidence.record import OUTCOMES
from harness.evidence.view import RunView
from harness.judge.drill import Check
from harness.model.verdict import CheckResult, Status

NAME = "conservation"


def check() -> Check:
    """The check; a safety check: it holds in invalid runs too."""
    return Check(
        "requests-conserved", NAME, "Is every scheduled request accounted for, once?", _run, safety=True, timing=False
    )


def _run(view: RunView) -> CheckResult:
    requests, summary = view.requests, view.summary
    if summary is None:
        why = "the load generator left no summary: nobody knows how many requests were scheduled"
        return CheckResult(NAME, Status.INCONCLUSIVE, why, samples=len(view.final))
    scheduled = int(summary["scheduled_requests"])
    if scheduled == 0:
        return CheckResult(NAME, Status.INCONCLUSIVE, "no request was scheduled", samples=0)
    if requests.empty:
        why = f"{scheduled} requests were scheduled, but no attempt at all is recorded"
        return CheckResult(NAME, Status.INCONCLUSIVE, why, samples=0)
    if unwritten := int(summary.get("unwritten_attempts", 0)):
        return _unwritten(view, summary, unwritten)
    leaks = [*_totals(view, summary), *_outcomes(requests), *_finals(requests), *_per_phase(requests)]
    missing = scheduled - len(view.final) - int(summary["in_flight_at_end"])
    return CheckResult(
        NAME,
        Status.FAIL if leaks else Status.PASS,
        leaks[0] if leaks else f"all {scheduled} scheduled requests and {len(requests)} attempts are accounted for",
        objective="0 unaccounted",
        measured=float(abs(missing)),
        unit="requests",
        margin=0.0 - float(abs(missing)),
        samples=scheduled,
        details={"leaks": leaks},
    )


def _unwritten(view: RunView, summary: dict[str, object], attempts: int) -> CheckResult:
    """INCONCLUSIVE for rows that could not be written; FAIL when further requests are missing."""
    scheduled, lost = int(str(summary["scheduled_requests"])), int(str(summary["unwritten_requests"]))
    missing = scheduled - len(view.final) - int(str(summary["in_flight_at_end"])) - lost
    extra = {"objective": "0 unaccounted", "measured": float(abs(missing)), "unit": "requests", "samples": scheduled}
    if missing:
        why = f"{abs(missing)} of {scheduled} requests are unaccounted for, besides {lost} that could not be written"
        return CheckResult(NAME, Status.FAIL, why, margin=0.0 - abs(missing), **extra)  # type: ignore[arg-type]
    why = f"{attempts} attempts could not be written: {summary.get('write_error') or 'no reason given'}"
    return CheckResult(NAME, Status.INCONCLUSIVE, why, **extra)  # type: ignore[arg-type]


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
        found = {str(k): int(v) for k, v in tally(rows["outcome"]).items()}
        if told is not None and told != found:
            yield f"{field} by the generator's count are {told}, recorded are {found}"


def _outcomes(requests: Attempts) -> Iterator[str]:
    unknown = requests[~requests["outcome"].isin(OUTCOMES)]
    if len(unknown):
        yield f"{len(unknown)} attempts have no known outcome, such as {unknown['outcome'].iloc[0]!r}"


def _finals(requests: Attempts) -> Iterator[str]:
    """Each request has attempts 1, 2, … n, and the n-th is the final one."""
    numbers = requests["request"]
    attempts = pd.DataFrame({"request": numbers, "attempt": requests["attempt"], "final": requests["final"].eq(True)})
    grouped = attempts[numbers.ge(0)].groupby("request")
    finals = grouped["final"].sum()
    if (finals != 1).any():
        example = min(requests["request_id"][numbers.isin(finals.index[finals.ne(1)])])
        yield f"{int((finals != 1).sum())} requests have not exactly one final attempt, such as {example}"
    several = attempts[attempts["request"].duplicated(keep=False)]
    twice = several.duplicated(["request", "attempt"]).any()
    if twice or (grouped["attempt"].max() != grouped["attempt"].size()).any():
        yield "the attempts of a request are not numbered 1, 2, … without gaps"


def _per_phase(requests: Attempts) -> Iterator[str]:
    """What began in a phase has ended as a request of that phase; null is before the first phase."""
    for column in ("phase", "judged_phase"):
        begun = _counted(requests[column][requests["attempt"].eq(1)])
        ended = _counted(requests[column][requests["final"].eq(True)])
        for phase in sorted(begun.keys() | ended.keys()):
            if begun.get(phase, 0) != ended.get(phase, 0):
                yield f"{begun.get(phase, 0)} requests began in {phase}, but {ended.get(phase, 0)} ended as its own"


def _counted(phases: pd.Series) -> dict[str, int]:
    found = {str(phase): int(count) for phase, count in phases.value_counts().items() if count}
    return found | {"(none)": int(phases.isna().sum())}
