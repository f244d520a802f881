"""What became of the requests that a workload itself sent, each an event ``ask`` (harness/probes/ask.py).

Each of them ends; what is oversized is refused as the client's own mistake, with a reason that helps; what is large but
legal is served whole, or shed with the advice to come again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from harness.evidence.view import RunView
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status

#: What came of one request: its name, what had to become of it, and the fields of a reply.
Asked = Mapping[str, Any]
SHED = (429, 503)


@with_arguments
def all_end(phase: str) -> Check:
    """Whether no request that the faults of ``phase`` sent was still open at its deadline."""
    name = f"no request of the fault hangs in {phase}"
    question = f"Does every request that the fault in {phase} sends end in time?"

    def run(view: RunView) -> CheckResult:
        return _none_wrong(view, name, phase, "0 requests without an end", _endless)

    needs = frozenset({"gateways", f"fault:{phase}"})
    return Check("probe-requests-end", name, question, run, needs, timing=True, phase=phase)


@with_arguments
def oversized_refused(phase: str) -> Check:
    """Whether every oversized request of ``phase`` was refused as the client's own mistake."""
    name = f"oversized requests are refused in {phase}"
    question = f"Is every oversized request of {phase} refused with a 4xx and a JSON error?"

    def run(view: RunView) -> CheckResult:
        return _none_wrong(view, name, phase, "0 requests with anything but a 4xx JSON error", _not_refused)

    needs = frozenset({"gateways", f"fault:{phase}"})
    return Check("oversized-requests-refused", name, question, run, needs, timing=False, phase=phase)


@with_arguments
def limits_named(phase: str) -> Check:
    """Whether every refusal of an oversized request of ``phase`` names what that was over, and by what."""
    name = f"refusals name limit and value in {phase}"
    question = f"Does every refusal in {phase} say which limit there is and what was asked?"

    def run(view: RunView) -> CheckResult:
        return _none_wrong(view, name, phase, "0 refusals that do not", _not_named)

    needs = frozenset({"gateways", f"fault:{phase}"})
    return Check("refusals-name-limit", name, question, run, needs, timing=False, phase=phase)


@with_arguments
def served_or_shed(phase: str) -> Check:
    """Whether every legal request of the fault in ``phase`` got all its tokens, or a 429 or 503 with Retry-After."""
    name = f"long contexts are served or honestly shed in {phase}"
    question = f"Is every long context of {phase} served whole, or shed with a 429 or 503 and Retry-After?"

    def run(view: RunView) -> CheckResult:
        return _none_wrong(view, name, phase, "0 requests neither served nor honestly shed", _neither)

    needs = frozenset({"gateways", f"fault:{phase}"})
    return Check("long-contexts-served-or-shed", name, question, run, needs, timing=False, phase=phase)


# ── what can be wrong with one of them ──


def _endless(ask: Asked) -> str | None:
    return f"open for {ask['took_s']:.0f} s" if ask["outcome"] == "hung" else None


def _not_refused(ask: Asked) -> str | None:
    status = ask["status"]
    if status == 200:
        return f"silent success: {ask['output_tokens'] or 'some'} tokens instead of what was asked"
    if status is None:
        return "nobody answered"
    if status in SHED or not 400 <= status < 500:
        return "not refused for its size"
    return None if ask["message"] and ask["type"] else "no JSON error"


def _not_named(ask: Asked) -> str | None:
    message = ask["message"] or ""
    missing = [word for word in ask.get("names", ()) if word not in message]
    return f"{' and '.join(map(repr, missing))} not named in {message[:120]!r}" if missing else None


def _neither(ask: Asked) -> str | None:
    if ask["outcome"] == "whole":
        whole = ask["output_tokens"] == ask["asked_tokens"] and ask["finish_reason"] == "length"
        return None if whole else f"{ask['output_tokens']} of {ask['asked_tokens']} tokens, {ask['finish_reason']}"
    if ask["status"] in SHED and ask["message"] and ask["retry_after_s"] is not None:
        return None
    return "neither served nor told when to come again"


# ── all of a phase ──


def _none_wrong(
    view: RunView, name: str, phase: str, objective: str, problem: Callable[[Asked], str | None]
) -> CheckResult:
    """FAIL when ``problem`` says for any request of ``phase`` what is wrong with what came of it."""
    asks = [event.data for event in view.events("ask", phase)]
    if not asks:
        why = f"nothing was asked in {phase}"
        return CheckResult(name, Status.INCONCLUSIVE, why, objective, samples=0, phase=phase)
    bad = [(ask, wrong) for ask in asks if (wrong := problem(ask)) is not None]
    why = f"all {len(asks)} are as they should be"
    if bad:
        why = f"{len(bad)} of {len(asks)} are not: {_describe(bad[0][0])} ({bad[0][1]})"
    layers = Counter(ask["layer"] for ask in asks)
    return CheckResult(
        name,
        Status.FAIL if bad else Status.PASS,
        f"{why}; {layers['gateway']} were answered by the gateway, {layers['engine']} by the engine",
        objective,
        float(len(bad)),
        "requests",
        0.0 - len(bad),
        len(asks),
        phase,
        details={
            "wrong": {_describe(ask): wrong for ask, wrong in bad},
            "answers": dict(Counter(map(_describe, asks))),
        },
    )


def _describe(ask: Asked) -> str:
    """One phrase for people."""
    if ask["outcome"] in ("whole", "cut", "refused"):
        by = f"{ask['status']} by the {ask['layer']}"
        return f"{ask['name']}: {by}" if ask["outcome"] == "refused" else f"{ask['name']}: {by}, {ask['outcome']}"
    return f"{ask['name']}: {'no answer' if ask['outcome'] == 'none' else 'hung'}"
