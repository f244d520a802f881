"""Every answer comes from a version that the plan has: of its replica's model, or of the candidate of its rollout."""

from __future__ import annotations

import pandas as pd

from harness.evidence.attempts import Attempts
from harness.evidence.view import RunView
from harness.judge.checks.shapes import asks, none_bad
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult


@asks(
    "served-versions",
    "served versions",
    "Did every answer come from the version that its replica should serve?",
    "replicas",
    timing=False, objective="0 answers of a version that was not planned",
)  # fmt: skip
def check(view: RunView) -> CheckResult:
    """The check, over the whole run. An external target's versions are its owner's."""
    planned = view.plan.get("serves")
    if not isinstance(planned, dict) or not planned:
        raise NotMeasured("the plan does not say which versions are served")
    rows = view.requests[view.requests["outcome"].eq("ok")]
    if rows.empty or rows["served_version"].isna().any():
        silent = int(rows["served_version"].isna().sum())
        raise NotMeasured(f"{silent} of {len(rows)} answers do not say which version gave them", len(rows))
    wrong = rows[~_as_planned(view, rows, planned)]
    why = f"all {len(rows)} answers came from the versions of the plan"
    if len(wrong):
        replica, version = wrong["replica"].iloc[0], wrong["served_version"].iloc[0]
        where = "an unknown replica" if pd.isna(replica) else replica
        why = f"{len(wrong)} of {len(rows)} answers came from another version: {version}"
        why += f" from {where}, planned: {', '.join(sorted(set(planned.values())))}"
    return none_bad(wrong, len(rows), "answers", why, wrong["request_id"])


def _as_planned(view: RunView, rows: Attempts, planned: dict[str, str]) -> pd.Series:
    """Marks the answers of a planned version; the candidate's from the injection of its rollout on."""
    stable = rows["replica"].isna() & rows["served_version"].isin(list(planned.values()))
    for replica, version in planned.items():
        stable |= rows["replica"].eq(replica) & rows["served_version"].eq(version)
    new = pd.Series(False, index=rows.index)
    for event in view.events("fault_injecting"):
        name = view.plan.get("rolls_out", {}).get(str(event.data.get("fault")))
        new |= rows["served_version"].eq(name) & rows["end_s"].gt(event.t_s)
    return stable | new
