"""Answers are right where the right one is known: in steady state as many as the scenario says, and never fewer later.

A candidate's answers are judged by its rollout, until it is promoted: then they have to be as good as its gate asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from harness.evidence.attempts import Rows, example_ids
from harness.evidence.view import RunView
from harness.judge import chance
from harness.judge.checks import rollout
from harness.judge.checks.shapes import asks
from harness.model.artifacts.rollout import ARTIFACT as ROLLOUT
from harness.model.scenario import Cohort
from harness.model.verdict import CheckResult, Status

#: What is less probable than that is not chance.
ALPHA = 0.001


@asks(
    "answers-right",
    "right answers",
    "Are answers right where the right one is known, after every fault as before?",
    timing=False,
)  # fmt: skip
def check(view: RunView) -> CheckResult:
    """The check, over the whole run."""
    cohorts = [cohort for cohort in view.scenario.load.cohorts if cohort.prompts == "eval"]
    if not cohorts:
        return CheckResult("", Status.PASS, "no cohort asks for an answer that is known", samples=0)
    objective = ", ".join(f"{cohort.name}: ≥ {cohort.right:.0%} right in steady state" for cohort in cohorts)
    rows = view.requests[view.requests["outcome"].eq("ok")]
    rows = rows[rows["cohort"].isin([cohort.name for cohort in cohorts])]
    found = [one for cohort in cohorts for one in _of_cohort(view, cohort, rows[rows["cohort"].eq(cohort.name)])]
    right = rows["answer_correct"].eq(True)
    share = 100 * float(right.mean()) if len(rows) else None
    margin = None if share is None else share - 100 * min(cohort.right for cohort in cohorts)
    bad = next((one for one in found if one[0] is Status.FAIL), None) or next(iter(found), None)
    status, why = bad or (Status.PASS, f"{right.sum()} of {len(rows)} answers were right")
    examples = example_ids(rows["request_id"][~right])
    return CheckResult("", status, why, objective, share, "%", margin, len(rows), examples=examples)


def _of_cohort(view: RunView, cohort: Cohort, rows: Rows) -> Iterator[tuple[Status, str]]:
    """What is wrong with the answers to one cohort."""
    if unjudged := int(rows["answer_correct"].isna().sum()):
        yield Status.INCONCLUSIVE, f"{unjudged} of {len(rows)} answers to {cohort.name} were not compared"
    candidate, promoted, quality = _candidate(view)
    new = rows["served_version"].eq(candidate or "")
    stable = rows[~new]
    before = stable[stable["judged_phase"].isin([p["name"] for p in view.planned_phases if p["kind"] == "baseline"])]
    right, count = _count(before)
    if not count:
        yield Status.INCONCLUSIVE, f"no answer to {cohort.name} was compared in the baseline"
        return
    yield from _worse(before, cohort.right, f"answers to {cohort.name} in the baseline")
    if count * (1 - cohort.right) < 1 and cohort.right < 1:
        yield (
            Status.INCONCLUSIVE,
            f"{count} answers to {cohort.name} in the baseline are too few to tell {cohort.right:.0%}",
        )
    for phase in (p["name"] for p in view.planned_phases if p["kind"] in ("fault", "recovery")):
        later, compared = _count(stable[stable["judged_phase"].eq(phase)])
        if compared and at_most_beside(later, compared, right, count) < ALPHA:
            what = f"answers to {cohort.name} in {phase} were right, {right} of {count} in the baseline"
            yield Status.FAIL, f"only {later} of {compared} {what}"
    if promoted is not None:
        after = rows[new & rows["start_s"].gt(promoted)]
        yield from _worse(after, quality, f"answers of {candidate} to {cohort.name} after it was promoted")


def _candidate(view: RunView) -> tuple[str | None, float | None, float]:
    """The version that the plan rolls out, when it was promoted, and what share of right answers its gate asks for."""
    phase = next((p["name"] for p in view.planned_phases for f in p["faults"] if f["type"] == "swap"), None)
    recorded = view.artifact(ROLLOUT)
    if phase is None or recorded is None:
        return None, None, 0.0
    ended = recorded.decided_s if recorded.ended == "promoted" else None
    return recorded.candidate.version, ended, rollout.options_of(view, phase).quality


def _count(rows: Rows) -> tuple[int, int]:
    judged = rows["answer_correct"].dropna()
    return int(judged.eq(True).sum()), len(judged)


def _worse(rows: Rows, expected: float, what: str) -> Iterator[tuple[Status, str]]:
    """Whether so few right ones are not chance, when each is right with the probability ``expected``."""
    right, count = _count(rows)
    if count and chance.at_most(right, count, expected) < ALPHA:
        yield Status.FAIL, f"only {right} of {count} {what} were right, {expected:.0%} expected"


def at_most_beside(right: int, count: int, right_before: int, count_before: int) -> float:
    """How probable it is that at most ``right`` of ``count`` are right when both samples are of one share, which is
    known from nothing but them: Fisher's exact test, one-sided.
    """
    rights = right + right_before
    least = max(0, rights - count_before)
    ways = (_log_ways(count, k) + _log_ways(count_before, rights - k) for k in range(least, right + 1))
    return min(1.0, math.fsum(math.exp(way - _log_ways(count + count_before, rights)) for way in ways))


def _log_ways(count: int, chosen: int) -> float:
    """The logarithm of the binomial coefficient."""
    return math.lgamma(count + 1) - math.lgamma(chosen + 1) - math.lgamma(count - chosen + 1)
