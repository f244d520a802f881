"""No more users meet a candidate that is not judged yet than were meant to; those who did are counted."""

from __future__ import annotations

from harness.evidence.attempts import example_ids
from harness.evidence.view import RunView
from harness.judge.checks import of_rollout
from harness.judge.drill import Check, with_arguments
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status


@with_arguments
def check(phase: str) -> Check:
    """Whether the share of answers that came from the candidate is the canary's, within what a lot allows."""
    name = "exposure bounded"
    question = "Did no more users than meant meet the candidate before it was judged, and how many were they?"
    needs = frozenset({"load", f"fault:{phase}"})
    return Check(
        "canary-exposure-bounded",
        name,
        question,
        lambda view: _run(view, name, phase),
        needs,
        timing=False,
        phase=phase,
    )


def _run(view: RunView, name: str, phase: str) -> CheckResult:
    try:
        rollout = of_rollout.recorded(view)
        percent = float(of_rollout.wanted(view, phase).percent)
        found = of_rollout.users_in_canary(view, rollout)
        early = _before_canary(view)
    except NotMeasured as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), phase=phase)
    if early:
        why = f"{early} users were answered by the candidate before it was a canary"
        return CheckResult(name, Status.FAIL, why, "0 before", float(early), "answers", -float(early), early, phase)
    if found is None:
        why = "it was stopped before any user could meet it"
        return CheckResult(name, Status.PASS, why, "0 answers", 0.0, "answers", 0.0, 0, phase)
    _, drawn = found
    if drawn.of == 0:
        why = "no user was answered while it was a canary"
        return CheckResult(name, Status.INCONCLUSIVE, why, f"≤ {percent:g} %", samples=0, phase=phase)
    everybody = of_rollout.met_unjudged(view, rollout)
    wrong, users = int(everybody["answer_correct"].eq(False).sum()), everybody["user_id"].nunique()
    why = (
        f"{drawn.count} of {drawn.of} answers came from the candidate while it was a canary; "
        f"{users} users met it before it was judged, {wrong} of the answers that they got were wrong"
    )
    status = Status.FAIL if drawn.count > drawn.most else Status.PASS
    objective = f"≤ {drawn.most} of {drawn.of} ({percent:g} %, drawn by lot)"
    margin = float(drawn.most - drawn.count)
    examples = example_ids(everybody["request_id"])
    details = {"users": users, "wrong": wrong}
    return CheckResult(
        name, status, why, objective, float(drawn.count), "answers", margin, drawn.of, phase, examples, details
    )


def _before_canary(view: RunView) -> int:
    """Answers of the candidate to attempts that had ended before any user was meant to meet it."""
    rollout = of_rollout.recorded(view)
    stage, rows = of_rollout.canary(rollout), of_rollout.answered(view)
    until = of_rollout.decided_s(rollout) if stage is None else stage.told_s - of_rollout.EDGE_S
    return int((rows["served_version"].eq(rollout.candidate.version) & rows["end_s"].lt(until)).sum())
