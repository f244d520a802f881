"""After the drill every replica serves the version that it served before."""

from __future__ import annotations

from harness.checks import of_rollout
from harness.drill import Check
from harness.slo import NotMeasured
from harness.verdict import CheckResult, Status
from harness.view import RunView
from stack.topology import REPLICAS

_OBJECTIVE = "only the stable version, from every replica"


def check(phase: str) -> Check:
    """Whether all answers of ``phase`` carry the stable version, and every replica gave some."""
    name = "stable version is back"
    question = f"Does every replica serve the stable version again in {phase}, to users?"
    return Check(name, question, lambda view: _run(view, name, phase), frozenset({"load", f"phase:{phase}"}))


def _run(view: RunView, name: str, phase: str) -> CheckResult:
    try:
        rollout = of_rollout.recorded(view)
    except NotMeasured as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), _OBJECTIVE, phase=phase)
    span, rows = view.phase(phase), of_rollout.answered(view)
    rows = rows[rows["start_s"].ge(span.start_s if span else float("inf"))]
    if rows.empty:
        return CheckResult(name, Status.INCONCLUSIVE, f"no answer in {phase}", _OBJECTIVE, samples=0, phase=phase)
    others = rows[rows["served_version"].ne(rollout.stable.version)]
    silent = sorted(set(REPLICAS) - set(rows["replica"]))
    if len(others):
        why = f"{len(others)} answers came from {others['served_version'].iloc[0]}"
    elif silent:
        why = f"no user was answered by {', '.join(silent)} any more"
    elif rollout.restored_s is None:
        why = f"all answers came from {rollout.stable.version}, but the rollout was not put back in order"
    else:
        why = f"all {len(rows)} answers came from {rollout.stable.version}, from every replica"
    bad = bool(len(others) or silent or rollout.restored_s is None)
    count = float(len(others))
    examples = tuple(str(i) for i in others["request_id"].head(5))
    status = Status.FAIL if bad else Status.PASS
    return CheckResult(name, status, why, _OBJECTIVE, count, "answers", -count, len(rows), phase, examples)
