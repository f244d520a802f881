"""What became of the requests that a workload itself sent, each an event ``ask`` (harness/probes/ask.py).

Each of them ends; what is oversized is refused as the client's own mistake, with a reason that helps; what is large but
legal is served whole, or shed with the advice to come again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from harness.evidence.view import RunView
from harness.judge.checks.shapes import asks, none_bad
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult

#: What came of one request: its name, what had to become of it, and the fields of a reply.
Asked = Mapping[str, Any]
SHED = (429, 503)


@asks(
    "probe-requests-end",
    "no request of the fault hangs in {phase}",
    "Does every request that the fault in {phase} sends end in time?",
    "gateways", "fault:{phase}",
    timing=True, objective="0 requests without an end",
)  # fmt: skip
def all_end(view: RunView, phase: str) -> CheckResult:
    """Whether no request that the faults of ``phase`` sent was still open at its deadline."""
    return _none_wrong(view, phase, _endless)


@asks(
    "oversized-requests-refused",
    "oversized requests are refused in {phase}",
    "Is every oversized request of {phase} refused with a 4xx and a JSON error?",
    "gateways", "fault:{phase}",
    timing=False, objective="0 requests with anything but a 4xx JSON error",
)  # fmt: skip
def oversized_refused(view: RunView, phase: str) -> CheckResult:
    """Whether every oversized request of ``phase`` was refused as the client's own mistake."""
    return _none_wrong(view, phase, _not_refused)


@asks(
    "refusals-name-limit",
    "refusals name limit and value in {phase}",
    "Does every refusal in {phase} say which limit there is and what was asked?",
    "gateways", "fault:{phase}",
    timing=False, objective="0 refusals that do not",
)  # fmt: skip
def limits_named(view: RunView, phase: str) -> CheckResult:
    """Whether every refusal of an oversized request of ``phase`` names what that was over, and by what."""
    return _none_wrong(view, phase, _not_named)


@asks(
    "long-contexts-served-or-shed",
    "long contexts are served or honestly shed in {phase}",
    "Is every long context of {phase} served whole, or shed with a 429 or 503 and Retry-After?",
    "gateways", "fault:{phase}",
    timing=False, objective="0 requests neither served nor honestly shed",
)  # fmt: skip
def served_or_shed(view: RunView, phase: str) -> CheckResult:
    """Whether every legal request of the fault in ``phase`` got all its tokens, or a 429 or 503 with Retry-After."""
    return _none_wrong(view, phase, _neither)


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


def _none_wrong(view: RunView, phase: str, problem: Callable[[Asked], str | None]) -> CheckResult:
    """FAIL when ``problem`` says for any request of ``phase`` what is wrong with what came of it."""
    asked = [event.data for event in view.events("ask", phase)]
    if not asked:
        raise NotMeasured(f"nothing was asked in {phase}", 0)
    bad = [(ask, wrong) for ask in asked if (wrong := problem(ask)) is not None]
    why = f"all {len(asked)} are as they should be"
    if bad:
        why = f"{len(bad)} of {len(asked)} are not: {_describe(bad[0][0])} ({bad[0][1]})"
    layers = Counter(ask["layer"] for ask in asked)
    why += f"; {layers['gateway']} were answered by the gateway, {layers['engine']} by the engine"
    wrongs, answers = {_describe(ask): wrong for ask, wrong in bad}, dict(Counter(map(_describe, asked)))
    return none_bad(bad, len(asked), "requests", why, details={"wrong": wrongs, "answers": answers})


def _describe(ask: Asked) -> str:
    """One phrase for people."""
    if ask["outcome"] in ("whole", "cut", "refused"):
        by = f"{ask['status']} by the {ask['layer']}"
        return f"{ask['name']}: {by}" if ask["outcome"] == "refused" else f"{ask['name']}: {by}, {ask['outcome']}"
    return f"{ask['name']}: {'no answer' if ask['outcome'] == 'none' else 'hung'}"
