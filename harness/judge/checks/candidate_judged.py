"""The candidate is judged before it gets more than the canary's share, and on what was really answered."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.checks import of_rollout
from harness.judge.drill import Check, with_arguments
from harness.judge.slo import NotMeasured
from harness.model import rollout as rollouts
from harness.model.rollout import OPEN, PROMOTE, Rollout
from harness.model.verdict import CheckResult, Status


@with_arguments
def check(phase: str) -> Check:
    """Whether no gateway gave the candidate more than its share before all gates had agreed."""
    name = "candidate judged before it gets more"
    question = (
        "Did the candidate get more than its share only after the gates had agreed, and do its answers bear them out?"
    )
    needs = frozenset({"load", "metrics", "gateways", f"fault:{phase}"})
    return Check(
        "candidate-judged-first", name, question, lambda view: _run(view, name, phase), needs, timing=False, phase=phase
    )


def _run(view: RunView, name: str, phase: str) -> CheckResult:
    try:
        rollout = of_rollout.recorded(view)
        percent = float(of_rollout.wanted(view, phase).percent)
        decided = of_rollout.decided_s(rollout)
        before = _weight_before(view, rollout, decided)
    except NotMeasured as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), phase=phase)
    assert rollout.decision is not None  # it was decided
    again = rollouts.decide(rollout.probes, rollout.candidate.version, rollout.questions, rollout.gates)
    early = [stage.name for stage in rollout.stages if stage.percent > percent and stage.told_s < decided]
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
    objective = f"≤ {percent:g} % before the verdict"
    margin = None if before is None else percent - before
    return CheckResult(name, status, why, objective, before, "%", margin, both, phase)


def _weight_before(view: RunView, rollout: Rollout, decided: float) -> float | None:
    """The greatest weight that it had at a gateway while it was a canary; None when it was none."""
    stage = of_rollout.canary(rollout)
    if stage is None:
        return None
    begin = stage.began_s + of_rollout.EDGE_S
    return float(of_rollout.weights(view, rollout.candidate_on, min(begin, decided), decided)["value"].max())
