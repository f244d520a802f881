"""A request that is large but legal is served to its end, or refused with the advice to come again."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.checks import asked
from harness.judge.checks.asked import Asked
from harness.judge.drill import Check
from harness.model.verdict import CheckResult


def check(phase: str) -> Check:
    """Whether every legal request of the fault in ``phase`` got all its tokens, or a 429 or 503 with Retry-After."""
    name = f"long contexts are served or honestly shed in {phase}"
    question = f"Is every long context of {phase} served whole, or shed with a 429 or 503 and Retry-After?"

    def run(view: RunView) -> CheckResult:
        return asked.judge(view, name, phase, "0 requests neither served nor honestly shed", _problem)

    return Check(
        "long-contexts-served-or-shed",
        name,
        question,
        run,
        frozenset({"gateways", f"fault:{phase}"}),
        timing=False,
        phase=phase,
    )


def _problem(ask: Asked) -> str | None:
    if ask["outcome"] == "whole":
        whole = ask["output_tokens"] == ask["asked_tokens"] and ask["finish_reason"] == "length"
        return None if whole else f"{ask['output_tokens']} of {ask['asked_tokens']} tokens, {ask['finish_reason']}"
    if ask["status"] in asked.SHED and ask["message"] and ask["retry_after_s"] is not None:
        return None
    return "neither served nor told when to come again"
