"""When the rollout has ended every replica serves one version: the new one if it was promoted, else the old."""

from __future__ import annotations

from harness.evidence.attempts import example_ids
from harness.evidence.view import RunView
from harness.judge.checks import of_rollout
from harness.judge.drill import Check, with_arguments
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status

_OBJECTIVE = "one version, from every replica"


@with_arguments
def check(phase: str) -> Check:
    """Whether all answers of ``phase`` carry the version that the rollout ended with, and every replica gave some."""
    name = "one version in the end"
    question = f"Does every replica serve the version that the rollout ended with in {phase}, to users?"
    return Check(
        "one-version-served",
        name,
        question,
        lambda view: _run(view, name, phase),
        frozenset({"load", f"phase:{phase}"}),
        timing=False,
        phase=phase,
    )


def _run(view: RunView, name: str, phase: str) -> CheckResult:
    try:
        rollout = of_rollout.recorded(view)
    except NotMeasured as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), _OBJECTIVE, phase=phase)
    if rollout.ended is None:
        return CheckResult(name, Status.INCONCLUSIVE, "the rollout has not come to its end", _OBJECTIVE, phase=phase)
    wanted = (rollout.candidate if rollout.ended == "promoted" else rollout.stable).version
    span, rows = view.phase(phase), of_rollout.answered(view)
    rows = rows[rows["start_s"].ge(span.start_s if span else float("inf"))]
    if rows.empty:
        return CheckResult(name, Status.INCONCLUSIVE, f"no answer in {phase}", _OBJECTIVE, samples=0, phase=phase)
    others = rows[rows["served_version"].ne(wanted)]
    silent = sorted(set(view.replicas) - set(rows["replica"]))
    if len(others):
        why = f"{len(others)} answers came from {others['served_version'].iloc[0]}, it was {rollout.ended}"
    elif silent:
        why = f"no user was answered by {', '.join(silent)} any more"
    else:
        why = f"all {len(rows)} answers came from {wanted}, from every replica"
    count = float(len(others))
    examples = example_ids(others["request_id"])
    status = Status.FAIL if len(others) or silent else Status.PASS
    return CheckResult(name, status, why, _OBJECTIVE, count, "answers", -count, len(rows), phase, examples)
