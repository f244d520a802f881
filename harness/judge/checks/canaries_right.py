"""After each wave every replica still gives the right answer to a question that has one."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.drill import Check
from harness.model.verdict import CheckResult, Status

NAME = "right answers after each wave"
OBJECTIVE = "0 wrong or missing answers"


def check() -> Check:
    """The check, over all waves of a run."""
    question = "Does every replica answer a question with a known answer after each wave?"
    return Check("right-answers-after-cancels", NAME, question, _run, frozenset({"replicas"}), timing=False)


def _run(view: RunView) -> CheckResult:
    asked = [(wave, canary) for wave in view.waves for canary in wave.canaries]
    if not asked:
        return CheckResult(NAME, Status.INCONCLUSIVE, "no replica was asked after a wave", OBJECTIVE, samples=0)
    wrong = [(wave, canary) for wave, canary in asked if not canary.right]
    why = f"all {len(asked)} were right, the slowest after {max(canary.took_s for _, canary in asked):.1f} s"
    if wrong:
        wave, canary = wrong[0]
        why = f"{canary.replica} after wave {wave.number} of {wave.phase}: {canary.why}; {len(wrong)} of {len(asked)}"
    status = Status.FAIL if wrong else Status.PASS
    return CheckResult(NAME, status, why, OBJECTIVE, float(len(wrong)), "answers", 0.0 - len(wrong), len(asked))
