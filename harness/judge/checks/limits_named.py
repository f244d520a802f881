"""A refusal that helps: it names the limit, and the value that was over it."""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.checks import asked
from harness.judge.checks.asked import Asked
from harness.judge.drill import Check
from harness.model.verdict import CheckResult


def check(phase: str) -> Check:
    """Whether every refusal of an oversized request of ``phase`` names what that was over, and by what."""
    name = f"refusals name limit and value in {phase}"
    question = f"Does every refusal in {phase} say which limit there is and what was asked?"

    def run(view: RunView) -> CheckResult:
        return asked.judge(view, name, phase, "0 refusals that do not", _problem)

    return Check(
        "refusals-name-limit", name, question, run, frozenset({"gateways", f"fault:{phase}"}), timing=False, phase=phase
    )


def _problem(ask: Asked) -> str | None:
    message = ask["message"] or ""
    missing = [word for word in ask.get("names", ()) if word not in message]
    return f"{' and '.join(map(repr, missing))} not named in {message[:120]!r}" if missing else None
