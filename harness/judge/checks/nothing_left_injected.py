"""Nothing of what was injected is left.

FAIL takes proof: a fault that was never healed, or something of it that is still there by the word of who holds it or
by measurement on the data path. A service that was not seen to be back in time is no such proof: whether it comes back
is for the checks of recovery and for the steady state. Runs of earlier versions do not tell the two apart; they stay as
they were judged then.
"""

from __future__ import annotations

from harness.evidence.view import RunView
from harness.judge.drill import Check
from harness.model.journal import Journal
from harness.model.verdict import CheckResult, Status

NAME = "nothing left injected"
#: What an unproven heal of an earlier version does not tell.
_NOT_TOLD = "the run does not tell what was left"
#: How harness and watchdog begin their sentence about what they could not heal.
_STILL = "still injected"


def check() -> Check:
    """The check; a safety check: it holds in interrupted runs too."""
    return Check(
        "nothing-left-injected", NAME, "Is every fault taken back, and is that proven?", _run, safety=True, timing=False
    )


def _run(view: RunView) -> CheckResult:
    if not view.events():
        return CheckResult(NAME, Status.INCONCLUSIVE, "the run recorded no events", "0 left", samples=0)
    begun = ("fault_injecting", "fault_injected", "fault_stays")
    injected = {str(e.data.get("fault")) for kind in begun for e in view.events(kind)}
    healed, proven, unproven = (_faults(view, kind) for kind in ("fault_healed", "heal_proven", "heal_unproven"))
    never, there = injected - healed, _still_there(view, injected) | _said_so(view, injected)
    if never and not there and "events.jsonl" in view.folder.unwritten():
        status, why = Status.INCONCLUSIVE, f"the events end before the heal of {', '.join(sorted(never))}: not written"
    elif never:
        status, why = Status.FAIL, f"never healed: {', '.join(sorted(never))}"
    elif there:
        found = "; ".join(f"{fault}: {left}" for fault, left in sorted(there.items()))
        status, why = Status.FAIL, f"still there after the heal: {found}"
    elif late := injected & unproven:
        status, why = Status.INCONCLUSIVE, f"healed, but not seen to be over in time: {', '.join(sorted(late))}"
    elif unsure := injected - proven:
        status, why = Status.INCONCLUSIVE, f"healed, but nobody proved it: {', '.join(sorted(unsure))}"
    elif still := [one.id for one in Journal(view.folder.path / "undo.jsonl").open_entries()]:
        status, why = Status.INCONCLUSIVE, f"the undo journal still has open entries: {', '.join(sorted(still))}"
    elif not injected:
        return CheckResult(NAME, Status.PASS, "nothing was injected, so nothing had to be healed", "0 left", samples=0)
    else:
        were = "the fault was" if len(injected) == 1 else f"all {len(injected)} faults were"
        status, why = Status.PASS, f"{were} healed, and the heal was proven"
    count = float(len(never | there.keys()))
    return CheckResult(NAME, status, why, "0 left", count, "faults", 0.0 - count, len(injected))


def _still_there(view: RunView, injected: set[str]) -> dict[str, str]:
    """Fault → what is left of it, of those whose heal was found not to have worked."""
    left = {str(e.data.get("fault")): e.data.get("left", _NOT_TOLD) for e in view.events("heal_unproven")}
    return {fault: str(words) for fault, words in left.items() if fault in injected and words}


def _said_so(view: RunView, injected: set[str]) -> dict[str, str]:
    """What whoever cleaned up could not heal, unless each fault was proven to be healed after that."""
    said = [e for e in view.events("cleanup_problem") if str(e.data.get("why", "")).startswith(_STILL)]
    proofs = [(e.t_s, str(e.data.get("fault"))) for e in view.events("heal_proven")]
    unproven = (e for e in said if injected - {fault for t_s, fault in proofs if t_s > e.t_s} or not injected)
    words = "; ".join(str(e.data["why"]) for e in unproven)
    return {"the clean-up says": words} if words else {}


def _faults(view: RunView, kind: str) -> set[str]:
    return {str(e.data.get("fault")) for e in view.events(kind)}
