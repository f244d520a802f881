"""A rollout: it ends as it should, its candidate is judged on what was really answered, and few users meet it first."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.evidence.attempts import example_ids, tally
from harness.evidence.view import RunView
from harness.judge import chance
from harness.judge.checks.fault_window import GAP_MAX_S
from harness.judge.checks.shapes import asks, none_bad, within
from harness.judge.slo import NotMeasured
from harness.model.artifacts import rollout as rollouts
from harness.model.artifacts.rollout import OPEN, PROMOTE, Rollout, Stage
from harness.model.options import swap
from harness.model.verdict import CheckResult, Status

#: A sample or a request so close to a change belongs to neither side of it.
_EDGE_S = 0.5
#: Significance level: what is less probable by chance than that is not chance.
_ALPHA = 0.001


def _recorded(view: RunView) -> Rollout:
    """The rollout that this run has carried through. NotMeasured without one."""
    rollout = view.artifact(rollouts.ARTIFACT)
    if rollout is None:
        raise NotMeasured("no rollout was recorded")
    return rollout


def _decided_s(rollout: Rollout) -> float:
    """When it was decided what becomes of the candidate. NotMeasured when it never was."""
    if rollout.decision is None or rollout.decided_s is None:
        raise NotMeasured("the candidate was never judged")
    return rollout.decided_s


def _canary(rollout: Rollout) -> Stage | None:
    """The stage in which some users met the candidate; None when it did not come to that."""
    return next((stage for stage in rollout.stages if stage.name == "canary"), None)


def options_of(view: RunView, phase: str) -> swap.Options:
    """The options of the rollout in the scenario. NotMeasured without one."""
    faults: list[dict[str, Any]] = next((p["faults"] for p in view.planned_phases if p["name"] == phase), [])
    asked = next((fault["options"] for fault in faults if fault["type"] == "swap"), None)
    if asked is None:
        raise NotMeasured(f"the scenario rolls nothing out in {phase}")
    return swap.Options.stored(asked)


#: What is asked of answers.
_ANSWERS = [
    "request_id", "user_id", "start_s", "end_s", "replica", "gateway_replica", "served_version", "answer_correct",
]  # fmt: skip


def _answered(view: RunView) -> pd.DataFrame:
    """Users' attempts that some engine has answered, with its version, and when each of them ended."""
    rows = view.requests[_ANSWERS]
    rows = rows.assign(replica=rows["replica"].where(rows["replica"].notna(), rows["gateway_replica"]))
    return rows[rows["served_version"].notna() & rows["replica"].fillna("").ne("")]


@dataclass(frozen=True)
class _Drawn:
    """How many of some requests went one way, and how many can have when each was drawn with that probability."""

    count: int
    of: int
    share: float

    @property
    def most(self) -> int:
        """More would not be chance."""
        return next(k for k in range(self.of + 1) if 1 - chance.at_most(k, self.of, self.share) < _ALPHA)

    @property
    def least(self) -> int:
        """Fewer would not be chance."""
        return next(k for k in range(self.of + 1) if chance.at_most(k, self.of, self.share) >= _ALPHA)


def _users_in_canary(view: RunView, rollout: Rollout) -> tuple[pd.DataFrame, _Drawn] | None:
    """Answers that users got from the candidate while it was a canary, and their number; None without a canary."""
    stage = _canary(rollout)
    if stage is None:
        return None
    rows = _answered(view)
    rows = rows[rows["start_s"].between(stage.applied_at_s + _EDGE_S, _decided_s(rollout))]
    met = rows[rows["served_version"].eq(rollout.candidate.version)]
    return met, _Drawn(len(met), len(rows), stage.percent / 100)


def _met_unjudged(view: RunView, rollout: Rollout) -> pd.DataFrame:
    """All answers that users got from the candidate before it was judged; those sent at the very edges, too."""
    rows = _answered(view)
    return rows[rows["served_version"].eq(rollout.candidate.version) & rows["start_s"].le(_decided_s(rollout))]


def _weights(view: RunView, replica: str, begin_s: float, end_s: float) -> pd.DataFrame:
    """Samples of the weight that the gateways give ``replica`` in that time. NotMeasured when one was not sampled."""
    found = []
    for gateway in view.gateways:
        samples = view.metrics(gateway, "server_weight", f"server={replica}")
        samples = samples[samples["t_s"].between(begin_s, end_s)]
        if samples.empty:
            raise NotMeasured(f"the weight that {gateway} gives {replica} was not sampled")
        found.append(samples)
    return pd.concat(found)


# ── it ends as it should ──


@asks(
    "rollout-ends-as-expected",
    "rollout ends as it should",
    "Was the candidate promoted or stopped as it deserves, and by the right gate?",
    "fault:{phase}",
    timing=False,
)  # fmt: skip
def ends_as_expected(view: RunView, phase: str) -> CheckResult:
    """Whether it ended as the scenario expects (``expect``, ``stopped_by`` of the fault)."""
    rollout, wanted = _recorded(view), options_of(view, phase)
    decided = _decided_s(rollout)
    assert rollout.decision is not None  # it was decided
    gates = ", ".join(wanted.stopped_by)
    objective = wanted.expect + (f" by {gates}" if gates else "")
    if rollout.ended is None:
        raise NotMeasured("the rollout has not come to its end", objective=objective)
    if rollout.broken is not None:
        why = f"it should have been {objective}, but {rollout.candidate.version} was {rollout.ended}: {rollout.broken}"
        return CheckResult("", Status.FAIL, why, objective)
    gate = rollout.decision.gate or "all gates"
    found = f"{rollout.candidate.version} was {rollout.ended}: {gate}: {rollout.decision.why}"
    if rollout.decision.gate == "undecided":
        raise NotMeasured(found, objective=objective)
    right = rollout.ended == wanted.expect and (not gates or rollout.decision.gate in wanted.stopped_by)
    canary = _canary(rollout)
    took = decided - canary.applied_at_s if canary else None
    when = "before any user could meet it" if took is None else f"{took:.1f} s after the first user could meet it"
    why = f"{found if right else f'it should have been {objective}, but {found}'} ({when})"
    status, margin = Status.PASS if right else Status.FAIL, 0.0 if right and canary else None
    details = {"candidate": rollout.candidate.measured, "stable": rollout.stable.measured}
    return CheckResult("", status, why, objective, took, "s", margin, len(rollout.probes), details=details)


@asks(
    "one-version-served",
    "one version in the end",
    "Does every replica serve the version that the rollout ended with in {phase}, to users?",
    "load", "phase:{phase}",
    timing=False, objective="one version, from every replica",
)  # fmt: skip
def one_version(view: RunView, phase: str) -> CheckResult:
    """Whether all answers of ``phase`` carry the version that the rollout ended with, and every replica gave some."""
    rollout = _recorded(view)
    if rollout.ended is None:
        raise NotMeasured("the rollout has not come to its end")
    wanted = (rollout.candidate if rollout.ended == "promoted" else rollout.stable).version
    span, rows = view.phase(phase), _answered(view)
    rows = rows[rows["start_s"].ge(span.start_s if span else float("inf"))]
    if rows.empty:
        raise NotMeasured(f"no answer in {phase}", 0)
    others = rows[rows["served_version"].ne(wanted)]
    silent = sorted(set(view.replicas) - set(rows["replica"]))
    why = f"all {len(rows)} answers came from {wanted}, from every replica"
    if len(others):
        why = f"{len(others)} answers came from {others['served_version'].iloc[0]}, it was {rollout.ended}"
    elif silent:
        why = f"no user was answered by {', '.join(silent)} any more"
    return none_bad(others, len(rows), "answers", why, others["request_id"], red=bool(silent))


@asks(
    "versions-agree",
    "versions agree",
    "Did each answer come from the version that was rolled out on its replica, and had the canary its share?",
    "load", "fault:{phase}",
    timing=False, objective="0 answers of another version",
)  # fmt: skip
def versions_agree(view: RunView, phase: str) -> CheckResult:
    """Whether the engines' own answers agree with what was rolled out in ``phase``, where, and with the weights."""
    rollout = _recorded(view)
    found, rows = _users_in_canary(view, rollout), _told(view, rollout)
    if rows.empty:
        raise NotMeasured("no answer says its version", 0)
    wrong, few = rows[~_as_served(rows, rollout)], found is not None and found[1].count < found[1].least
    counts = ", ".join(f"{version} {count}" for version, count in tally(rows["served_version"]).items())
    why = f"every answer says the version that its replica served ({counts})"
    if len(wrong):
        first = wrong.iloc[0]
        example = f"{first['served_version']} from {first['replica']}"
        why = f"{len(wrong)} answers say another version than their replica served, such as {example}"
    elif found is not None and few:
        why = f"only {found[1].count} of {found[1].of} answers came from the canary, at least {found[1].least} were due"
    return none_bad(wrong, len(rows), "answers", why, wrong["request_id"], red=few)


def _told(view: RunView, rollout: Rollout) -> pd.DataFrame:
    """Answers of which the rollout's record tells: of one that came to no end, not those of its heal and later."""
    rows = _answered(view)
    if rollout.ended in ("promoted", "rolled back"):
        return rows
    healing = [event.t_s for event in view.events("fault_healing") if event.data["fault"] == rollout.fault]
    return rows[rows["end_s"].lt(min(healing, default=math.inf))]


def _as_served(rows: pd.DataFrame, rollout: Rollout) -> pd.Series:
    """Marks the answers whose version their replica served at some time while they were made."""
    good = pd.Series(False, index=rows.index)
    for served in rollout.served:
        until = float("inf") if served.to_s is None else served.to_s + _EDGE_S
        good |= (
            rows["replica"].eq(served.replica)
            & rows["served_version"].eq(served.version)
            & rows["end_s"].ge(served.from_s - _EDGE_S)
            & rows["start_s"].le(until)
        )
    return good


# ── its candidate is judged first ──


@asks(
    "candidate-judged-first",
    "candidate judged before it gets more",
    "Did the candidate get more than its share only after the gates had agreed, and do its answers bear them out?",
    "load", "metrics", "gateways", "fault:{phase}",
    timing=False,
)  # fmt: skip
def candidate_judged(view: RunView, phase: str) -> CheckResult:
    """Whether no gateway gave the candidate more than its share before all gates had agreed."""
    rollout, percent = _recorded(view), float(options_of(view, phase).percent)
    decided = _decided_s(rollout)
    before = _weight_before(view, rollout, decided)
    assert rollout.decision is not None  # it was decided
    again = rollouts.decide(rollout.probes, rollout.candidate.version, rollout.questions, rollout.gates)
    early = [stage.name for stage in rollout.stages if stage.percent > percent and stage.requested_at_s < decided]
    got_more = any(stage.percent > percent for stage in rollout.stages)
    both = len(rollouts.pairs(rollout.probes))
    if early:
        status, why = Status.FAIL, f"the stage {early[0]} began before the candidate was judged"
    elif before is not None and before > percent:
        status, why = Status.FAIL, f"a gateway gave it a weight of {before:.0f} % before it was judged"
    elif got_more and again.verdict != PROMOTE:
        status, why = Status.FAIL, f"it got more although its answers do not pass the gates: {again.why}"
    elif rollout.decision.verdict != PROMOTE and again.verdict == PROMOTE:
        status, why = Status.FAIL, "it was stopped although its answers pass all gates"
    else:
        words = "its answers decide nothing" if again.verdict == OPEN else again.why
        had = "it was no canary" if before is None else f"it had {before:.0f} % at most"
        status, why = Status.PASS, f"{had} until {rollout.decision.verdict} was decided: {words}"
    margin = None if before is None else percent - before
    return CheckResult("", status, why, f"≤ {percent:g} % before the verdict", before, "%", margin, both)


def _weight_before(view: RunView, rollout: Rollout, decided: float) -> float | None:
    """The greatest weight that it had at a gateway while it was a canary; None when it was none."""
    stage = _canary(rollout)
    if stage is None:
        return None
    begin = stage.applied_at_s + _EDGE_S
    return float(_weights(view, rollout.candidate_on, min(begin, decided), decided)["value"].max())


# ── few users meet it before ──


@asks(
    "canary-exposure-bounded",
    "exposure bounded",
    "Did no more users than meant meet the candidate before it was judged, and how many were they?",
    "load", "fault:{phase}",
    timing=False,
)  # fmt: skip
def exposure_bounded(view: RunView, phase: str) -> CheckResult:
    """Whether the share of answers that came from the candidate is the canary's, within what a lot allows."""
    rollout, percent = _recorded(view), float(options_of(view, phase).percent)
    found, early = _users_in_canary(view, rollout), _before_canary(view, rollout)
    if early:
        why = f"{early} users were answered by the candidate before it was a canary"
        return CheckResult("", Status.FAIL, why, "0 before", float(early), "answers", -float(early), early)
    if found is None:
        why = "it was stopped before any user could meet it"
        return CheckResult("", Status.PASS, why, "0 answers", 0.0, "answers", 0.0, 0)
    _, drawn = found
    if drawn.of == 0:
        raise NotMeasured("no user was answered while it was a canary", 0, f"≤ {percent:g} %")
    everybody = _met_unjudged(view, rollout)
    wrong, users = int(everybody["answer_correct"].eq(False).sum()), everybody["user_id"].nunique()
    why = (
        f"{drawn.count} of {drawn.of} answers came from the candidate while it was a canary; "
        f"{users} users met it before it was judged, {wrong} of the answers that they got were wrong"
    )
    return within(
        float(drawn.count), float(drawn.most), why, drawn.of, "answers",
        objective=f"≤ {drawn.most} of {drawn.of} ({percent:g} %, drawn by lot)",
        examples=example_ids(everybody["request_id"]), details={"users": users, "wrong": wrong},
    )  # fmt: skip


def _before_canary(view: RunView, rollout: Rollout) -> int:
    """Answers of the candidate to attempts that had ended before any user was meant to meet it."""
    stage, rows = _canary(rollout), _answered(view)
    until = _decided_s(rollout) if stage is None else stage.requested_at_s - _EDGE_S
    return int((rows["served_version"].eq(rollout.candidate.version) & rows["end_s"].lt(until)).sum())


# ── it is rolled back in time ──


@asks(
    "rollback-in-time",
    "rollback in time",
    "If the candidate was stopped: was all traffic on the stable version soon?",
    "load", "metrics", "gateways", "fault:{phase}",
    timing=True, objective="≤ {within_s:g} s",
)  # fmt: skip
def rollback_in_time(view: RunView, phase: str, within_s: float) -> CheckResult:
    """Whether its weight is 0 and every user is with the stable version ``within_s`` after the decision of ``phase``.

    The replica's restoration takes longer (an engine starts); it is told in the reason, not judged here.
    """
    rollout = _recorded(view)
    decided = _decided_s(rollout)
    if rollout.decision is not None and rollout.decision.verdict == PROMOTE:
        return CheckResult("", Status.PASS, "the candidate was promoted: there was nothing to roll back")
    weighed_s, last_s, samples = _weighed_until(view, rollout, decided), *_served_until(view, rollout, decided)
    restored = "never" if rollout.restored_s is None else f"{rollout.restored_s - decided:.0f} s"
    why = (
        f"the gateways gave it a weight until {weighed_s:.1f} s after the decision, the last user met it after "
        f"{last_s:.1f} s; its replica served the stable version again after {restored}"
    )
    return within(max(weighed_s, last_s), within_s, why, samples)


def _weighed_until(view: RunView, rollout: Rollout, decided: float) -> float:
    """Seconds after the decision until no gateway gave it a weight any more. NotMeasured when that was not seen."""
    until = _watched_until(rollout, decided)
    latest = 0.0
    for gateway in view.gateways:
        samples = view.metrics(gateway, "server_weight", f"server={rollout.candidate_on}")
        samples = samples[samples["t_s"].between(decided, until)]
        times = [decided, *samples["t_s"], until]
        if max(right - left for left, right in itertools.pairwise(times)) > GAP_MAX_S:
            raise NotMeasured(f"{gateway}'s weights were not sampled after the decision")
        heavy = samples["t_s"][samples["value"].gt(0)]
        latest = max(latest, float(heavy.max()) - decided if len(heavy) else 0.0)
    return latest


def _served_until(view: RunView, rollout: Rollout, decided: float) -> tuple[float, int]:
    """Seconds after the decision at which the last user was sent to it, and how many requests there were to look at."""
    rows = _answered(view)
    rows = rows[rows["start_s"].between(decided, _watched_until(rollout, decided))]
    if rows.empty:
        raise NotMeasured("no user was answered after the decision")
    met = rows["start_s"][rows["served_version"].eq(rollout.candidate.version)]
    return (float(met.max()) - decided if len(met) else 0.0), len(rows)


def _watched_until(rollout: Rollout, decided: float) -> float:
    """Until its replica serves the stable version again, and may get traffic."""
    back = [s.from_s for s in rollout.served if s.replica == rollout.candidate_on and s.from_s > decided]
    if not back:
        raise NotMeasured(f"{rollout.candidate_on} was never given back")
    return min(back)
