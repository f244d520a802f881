"""Whoever asks for too much is told so: a 4xx with a JSON error, never an answer that is less than what was asked."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.checks import asked
from harness.judge.checks.asked import Asked
from harness.judge.drill import Check
from harness.model.verdict import CheckResult


def check(phase: str) -> Check:
    """Whether every oversized request of ``phase`` was refused as the client's own mistake."""
    name = f"oversized requests are refused in {phase}"
    question = f"Is every oversized request of {phase} refused with a 4xx and a JSON error?"

    def run(view: RunView) -> CheckResult:
        return asked.judge(view, name, phase, "0 requests with anything but a 4xx JSON error", _problem)

    return Check(
        "oversized-requests-refused",
        name,
        question,
        run,
        frozenset({"gateways", f"fault:{phase}"}),
        timing=False,
        phase=phase,
    )


def _problem(ask: Asked) -> str | None:
    status = ask["status"]
    if status == 200:
        return f"silent success: {ask['output_tokens'] or 'some'} tokens instead of what was asked"
    if status is None:
        return "nobody answered"
    if status in asked.SHED or not 400 <= status < 500:
        return "not refused for its size"
    return None if ask["message"] and ask["type"] else "no JSON error"
