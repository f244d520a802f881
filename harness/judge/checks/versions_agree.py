"""Every answer says the version that its replica served at that time, and the canary really had users."""

from __future__ import annotations

import math

import pandas as pd

from harness.evidence.attempts import example_ids, tally
from harness.evidence.view import RunView
from harness.judge.checks import of_rollout
from harness.judge.drill import Check
from harness.judge.slo import NotMeasured
from harness.model.rollout import Rollout
from harness.model.verdict import CheckResult, Status

_OBJECTIVE = "0 answers of another version"


def check(phase: str) -> Check:
    """Whether the engines' own answers agree with what was rolled out, where, and with the weights."""
    name = "versions agree"
    question = "Did each answer come from the version that was rolled out on its replica, and had the canary its share?"
    needs = frozenset({"load", f"fault:{phase}"})
    return Check(
        "versions-agree", name, question, lambda view: _run(view, name, phase), needs, timing=False, phase=phase
    )


def _run(view: RunView, name: str, phase: str) -> CheckResult:
    try:
        rollout = of_rollout.recorded(view)
        found = of_rollout.users_in_canary(view, rollout)
    except NotMeasured as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), _OBJECTIVE, phase=phase)
    rows = _told(view, rollout)
    if rows.empty:
        return CheckResult(name, Status.INCONCLUSIVE, "no answer says its version", _OBJECTIVE, samples=0, phase=phase)
    wrong = rows[~_as_served(rows, rollout)]
    status = Status.FAIL if len(wrong) else Status.PASS
    if len(wrong):
        first = wrong.iloc[0]
        example = f"{first['served_version']} from {first['replica']}"
        why = f"{len(wrong)} answers say another version than their replica served, such as {example}"
    elif found is not None and found[1].count < found[1].least:
        status = Status.FAIL
        why = f"only {found[1].count} of {found[1].of} answers came from the canary, at least {found[1].least} were due"
    else:
        counts = ", ".join(f"{version} {count}" for version, count in tally(rows["served_version"]).items())
        why = f"every answer says the version that its replica served ({counts})"
    count = float(len(wrong))
    examples = example_ids(wrong["request_id"])
    return CheckResult(name, status, why, _OBJECTIVE, count, "answers", -count, len(rows), phase, examples)


def _told(view: RunView, rollout: Rollout) -> pd.DataFrame:
    """Answers of which the rollout's record tells: of one that came to no end, not those of its heal and later."""
    rows = of_rollout.answered(view)
    if rollout.ended in ("promoted", "rolled back"):
        return rows
    healing = [event.t_s for event in view.events("fault_healing") if event.data["fault"] == rollout.fault]
    return rows[rows["end_s"].lt(min(healing, default=math.inf))]


def _as_served(rows: pd.DataFrame, rollout: Rollout) -> pd.Series:
    """Marks the answers whose version their replica served at some time while they were made."""
    good = pd.Series(False, index=rows.index)
    for served in rollout.served:
        until = float("inf") if served.to_s is None else served.to_s + of_rollout.EDGE_S
        good |= (
            rows["replica"].eq(served.replica)
            & rows["served_version"].eq(served.version)
            & rows["end_s"].ge(served.from_s - of_rollout.EDGE_S)
            & rows["start_s"].le(until)
        )
    return good
