"""When the pressure is over, nobody waits any more: the queues of gateways and engines are soon empty."""

from __future__ import annotations

from collections.abc import Iterator

from harness.evidence.view import RunView
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status


@with_arguments
def check(phase: str, within_s: float) -> Check:
    """Whether every queue was seen empty within ``within_s`` of the heal of ``phase``."""
    question = f"Are all queues empty within {within_s:g} s of healing {phase}?"
    needs = frozenset({"metrics", "gateways", "replicas", f"fault:{phase}"})
    name = f"queues drain after {phase}"
    return Check(
        "queues-drain",
        name,
        question,
        lambda view: _run(view, name, phase, within_s),
        needs,
        timing=True,
        after_heal=True,
        phase=phase,
    )


def _run(view: RunView, name: str, phase: str, within_s: float) -> CheckResult:
    objective, healed = f"≤ {within_s:.6g} s", [e.t_s for e in view.events("fault_healed", phase)]
    if not healed:
        return CheckResult(name, Status.INCONCLUSIVE, f"{phase} was not healed", objective, phase=phase)
    begin, took = max(healed), dict[str, float]()
    for component, metric in _queues(view):
        samples = view.metrics(component, metric)
        samples = samples[samples["t_s"].ge(begin)]
        empty = samples["t_s"][samples["value"].eq(0)]
        if empty.empty and (samples.empty or samples["t_s"].max() < begin + within_s):
            why = f"the queue of {component} was not sampled for long enough after {phase}"
            return CheckResult(name, Status.INCONCLUSIVE, why, objective, phase=phase)
        took[component] = float("inf") if empty.empty else float(empty.iloc[0]) - begin
    slowest = max(took, key=lambda component: took[component])
    seconds = took[slowest]
    if seconds == float("inf"):
        why = f"the queue of {slowest} was never empty after {phase}"
        return CheckResult(name, Status.FAIL, why, objective, samples=len(took), phase=phase)
    status = Status.PASS if seconds <= within_s else Status.FAIL
    why = f"the queue of {slowest} was the last to be empty, {seconds:.1f} s after the heal"
    return CheckResult(name, status, why, objective, seconds, "s", within_s - seconds, len(took), phase, details=took)


def _queues(view: RunView) -> Iterator[tuple[str, str]]:
    """Who has a queue, and the metric that says how long it is."""
    yield from ((gateway, "queue_current") for gateway in view.gateways)
    yield from ((replica, "waiting") for replica in view.replicas)
