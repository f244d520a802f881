"""The service was in its steady state at the end of a phase: asked during the run, and seen in the records."""

from __future__ import annotations

from harness import sli
from harness.drill import Check
from harness.verdict import CheckResult, Status
from harness.view import RunView

STRETCH_S = 10.0
REQUESTS_MIN = 20
AVAILABILITY_MIN = 99.0


def check(phase: str) -> Check:
    """Whether the steady state was reached at the end of ``phase``."""
    question = f"Was the service in its steady state at the end of {phase}?"
    needs = frozenset({"load", f"phase:{phase}"})
    return Check(f"steady state in {phase}", question, lambda view: _run(view, phase), needs)


def _run(view: RunView, phase: str) -> CheckResult:
    name = f"steady state in {phase}"
    asked = view.events("steady_state", phase)
    if not asked:
        return CheckResult(name, Status.INCONCLUSIVE, f"nobody asked for the steady state in {phase}", phase=phase)
    said = asked[-1]
    rows = view.attempts(phase)
    rows = rows[rows["intended_start_s"].between(said.t_s - STRETCH_S, said.t_s)]
    found = sli.find("availability").measure(rows, view)
    objective = f"≥ {AVAILABILITY_MIN:.6g} % of the last {STRETCH_S:.6g} s"
    if not said.data.get("reached"):
        status, why = Status.FAIL, f"it was not reached: {said.data.get('why', 'no reason given')}"
    elif found.value is None or found.samples < REQUESTS_MIN:
        status = Status.INCONCLUSIVE
        why = f"only {found.samples} requests lie in its last {STRETCH_S:.0f} s, {REQUESTS_MIN} are needed"
    elif found.value < AVAILABILITY_MIN:
        status = Status.FAIL
        why = f"it was said to be reached, but the records show {found.value:.4g} % availability before"
    else:
        status, why = Status.PASS, str(said.data.get("why", "it was reached"))
    return CheckResult(
        name,
        status,
        why,
        objective,
        measured=found.value,
        unit=found.unit,
        margin=None if found.value is None else found.value - AVAILABILITY_MIN,
        samples=found.samples,
        phase=phase,
        examples=found.examples,
    )
