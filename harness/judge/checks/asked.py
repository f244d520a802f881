"""What checks of the requests that a fault has sent share: each is an event ``ask`` (harness/probes/ask.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.evidence.view import RunView
from harness.model.verdict import CheckResult, Status

#: What came of one request: its name, what had to become of it, and the fields of a reply.
Asked = Mapping[str, Any]
SHED = (429, 503)


def describe(ask: Asked) -> str:
    """One phrase for people."""
    if ask["outcome"] in ("whole", "cut", "refused"):
        by = f"{ask['status']} by the {ask['layer']}"
        return f"{ask['name']}: {by}" if ask["outcome"] == "refused" else f"{ask['name']}: {by}, {ask['outcome']}"
    return f"{ask['name']}: {'no answer' if ask['outcome'] == 'none' else 'hung'}"


def judge(view: RunView, name: str, phase: str, objective: str, problem: Callable[[Asked], str | None]) -> CheckResult:
    """FAIL when ``problem`` says for any request of ``phase`` what is wrong with what came of it."""
    asks = [event.data for event in view.events("ask", phase)]
    if not asks:
        return CheckResult(
            name, Status.INCONCLUSIVE, f"nothing was asked in {phase}", objective, samples=0, phase=phase
        )
    bad = [(ask, why) for ask in asks if (why := problem(ask)) is not None]
    layers = {layer: sum(ask["layer"] == layer for ask in asks) for layer in ("gateway", "engine")}
    why = f"all {len(asks)} are as they should be"
    if bad:
        why = f"{len(bad)} of {len(asks)} are not: {describe(bad[0][0])} ({bad[0][1]})"
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
        details={"wrong": {describe(ask): why for ask, why in bad}, "answers": _tally(asks)},
    )


def _tally(asks: Sequence[Asked]) -> dict[str, int]:
    """How often each thing was asked and so answered."""
    said = [describe(ask) for ask in asks]
    return {text: said.count(text) for text in dict.fromkeys(said)}
