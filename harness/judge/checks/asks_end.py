"""Nobody who asks for much waits for ever: every request of a fault has its end, an answer or a refusal."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.checks import asked
from harness.judge.checks.asked import Asked
from harness.judge.drill import Check
from harness.model.verdict import CheckResult


def check(phase: str) -> Check:
    """Whether no request that the faults of ``phase`` sent was still open at its deadline."""
    name = f"no request of the fault hangs in {phase}"
    question = f"Does every request that the fault in {phase} sends end in time?"

    def run(view: RunView) -> CheckResult:
        return asked.judge(view, name, phase, "0 requests without an end", _problem)

    return Check(
        "probe-requests-end", name, question, run, frozenset({"gateways", f"fault:{phase}"}), timing=True, phase=phase
    )


def _problem(ask: Asked) -> str | None:
    return f"open for {ask['took_s']:.0f} s" if ask["outcome"] == "hung" else None
