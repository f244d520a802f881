"""Whatever was injected is healed, and the heal is proven."""

from __future__ import annotations

from harness.drill import Check
from harness.verdict import CheckResult, Status
from harness.view import RunView

NAME = "nothing left injected"


def check() -> Check:
    """The check; a safety check: it holds in interrupted runs too."""
    return Check(NAME, "Is every fault taken back, and is that proven?", _run, safety=True)


def _run(view: RunView) -> CheckResult:
    if not view.events():
        return CheckResult(NAME, Status.INCONCLUSIVE, "the run recorded no events", "0 left", samples=0)
    begun = ("fault_injecting", "fault_injected", "fault_stays")
    injected = {str(e.data.get("fault")) for kind in begun for e in view.events(kind)}
    healed, proven, unproven = (_faults(view, kind) for kind in ("fault_healed", "heal_proven", "heal_unproven"))
    left, still_there, unsure = injected - healed, injected & unproven, injected - proven
    if left:
        status, why = Status.FAIL, f"never healed: {', '.join(sorted(left))}"
    elif still_there:
        status, why = Status.FAIL, f"still felt after the heal: {', '.join(sorted(still_there))}"
    elif unsure:
        status, why = Status.INCONCLUSIVE, f"healed, but nobody proved it: {', '.join(sorted(unsure))}"
    else:
        were = "the fault was" if len(injected) == 1 else f"all {len(injected)} faults were"
        status, why = Status.PASS, f"{were} healed, and the heal was proven"
    count = float(len(left | still_there))
    return CheckResult(NAME, status, why, "0 left", count, "faults", 0.0 - count, len(injected))


def _faults(view: RunView, kind: str) -> set[str]:
    return {str(e.data.get("fault")) for e in view.events(kind)}
