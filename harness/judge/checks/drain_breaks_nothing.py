"""A restart in order costs no stream: what runs on the replica ends in peace, and nothing new is sent to it."""

from __future__ import annotations

from harness.evidence.attempts import example_ids, tally
from harness.evidence.view import RunView
from harness.judge.checks.streams import given_s, in_flight, on_replica, step_s
from harness.judge.drill import Check
from harness.model.verdict import CheckResult, Status

#: A request that the gateway had given away just before it was drained may have its answer begun so much later.
_ON_ITS_WAY_S = 1.0


def check(replica: str, phase: str) -> Check:
    """Whether no stream on ``replica`` broke in its graceful restart in ``phase``."""
    question = f"Do all streams on {replica} end well although it is restarted in {phase}?"
    needs = frozenset({"load", "gateways", "replicas", f"fault:{phase}"})
    return Check(
        "drain-breaks-nothing",
        _name(phase),
        question,
        lambda view: _run(view, replica, phase),
        needs,
        timing=False,
        phase=phase,
        subject=replica,
    )


def _name(phase: str) -> str:
    return f"drain breaks nothing in {phase}"


def _run(view: RunView, replica: str, phase: str) -> CheckResult:
    name, objective = _name(phase), "0 broken streams"
    drained, giving_back = step_s(view, phase, "drained"), [e.t_s for e in view.events("fault_healing", phase)]
    stopping = step_s(view, phase, "stopping")
    if stopping is None or not giving_back:
        why = f"{replica} was not restarted and given back in {phase}"
        return CheckResult(name, Status.INCONCLUSIVE, why, objective, phase=phase)
    asked = stopping if drained is None else drained
    rows = on_replica(view, replica)
    running = in_flight(rows, asked)
    # Who was waiting in the gateway's queue when the replica was given back came to it after that.
    new = rows[given_s(rows).between(asked + _ON_ITS_WAY_S, min(giving_back))]
    touched = rows[rows.index.isin([*running.index, *new.index])]
    broken = touched[touched["outcome"].ne("ok")]
    if broken.empty and running.empty:
        why = f"no stream ran on {replica} when it was drained, so none could break"
        return CheckResult(name, Status.INCONCLUSIVE, why, objective, samples=0, phase=phase)
    drain_s = stopping - asked
    kinds = ", ".join(f"{n} × {kind}" for kind, n in sorted(tally(broken["outcome"]).items()))
    if len(broken):
        status, why = Status.FAIL, f"{len(broken)} of {len(touched)} streams on {replica} broke ({kinds})"
    elif len(new):
        status, why = Status.FAIL, f"{len(new)} requests were sent to {replica} after it was drained"
    else:
        status = Status.PASS
        why = f"all {len(running)} streams on {replica} ended well, {drain_s:.1f} s after the drain was ordered"
    return CheckResult(
        name, status, why, objective, float(len(broken)), "streams", 0.0 - float(len(broken)), len(touched), phase,
        example_ids((broken if len(broken) else new)["request_id"]),
        {"running_at_drain": len(running), "sent_after_drain": len(new), "drain_s": round(drain_s, 3)},
    )  # fmt: skip
