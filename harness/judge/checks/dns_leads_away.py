"""DNS stops handing out a gateway that cannot serve."""

from __future__ import annotations

from dataclasses import dataclass

from harness.evidence.view import RunView
from harness.judge.checks import since_fault
from harness.judge.checks.since_fault import SinceFault
from harness.judge.drill import Check, with_arguments
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status


@dataclass(frozen=True)
class Answer:
    """What DNS said at one moment."""

    t_s: float
    addresses: frozenset[str]


@with_arguments
def check(gateway: str, phase: str, within: str) -> Check:
    """Whether DNS names only other gateways from ``within`` (an expression) after the injection in ``phase`` on."""
    question = f"Does DNS lead away from {gateway} soon after the fault in {phase}, and stay away?"
    needs = frozenset({"metrics", "gateways", f"fault:{phase}"})
    return Check(
        "dns-ejects-gateway",
        _name(gateway, phase),
        question,
        lambda view: _run(view, gateway, phase, within),
        needs,
        timing=True,
        phase=phase,
        subject=gateway,
    )


def answers(view: RunView, begin_s: float, end_s: float) -> list[Answer]:
    """What DNS answered in that time; moments without an answer are left out."""
    samples = view.metrics("dns", "answer")
    samples = samples[samples["t_s"].between(begin_s, end_s)]
    found: dict[float, set[str]] = {}
    for t_s, label in zip(samples["t_s"].tolist(), samples["labels"], strict=True):
        found.setdefault(t_s, set()).add(label.removeprefix("address="))
    return [Answer(t_s, frozenset(addresses)) for t_s, addresses in found.items()]


def led_to(view: RunView, gateway: str, before_s: float) -> bool | None:
    """Whether the last answer before that moment named ``gateway``; None when there was none."""
    found = answers(view, before_s - since_fault.GAP_MAX_S, before_s)
    return view.address_of(gateway) in found[-1].addresses if found else None


def _name(gateway: str, phase: str) -> str:
    return f"DNS leads away from {gateway} in {phase}"


def _run(view: RunView, gateway: str, phase: str, within: str) -> CheckResult:
    name = _name(gateway, phase)
    try:
        target, fault = since_fault.limit(view, within), SinceFault.of(view, phase)
        if not led_to(view, gateway, fault.begin_s):
            raise NotMeasured(f"DNS was not seen to lead to {gateway} before the fault")
        found = answers(view, fault.begin_s, fault.end_s)
        mine = view.address_of(gateway)
        ms = fault.ms_until([a.t_s for a in found], [mine not in a.addresses for a in found])
    except NotMeasured as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), f"≤ {within}", phase=phase)
    why = f"DNS named another gateway from {{s}} after the fault on (n = {len(found)} answers)"
    never = f"DNS still named {gateway} when the fault was healed"
    return since_fault.judged(name, phase, target, ms, why, never, len(found))
