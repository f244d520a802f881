"""Clients live on the last answer of a DNS that has fallen silent."""

from __future__ import annotations

from harness.evidence.attempts import example_ids
from harness.evidence.view import RunView
from harness.judge.checks.since_fault import SinceFault
from harness.judge.drill import Check, with_arguments
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status

_OBJECTIVE = "0 requests without an address"
#: A question that was asked just before the fault is in the samples so much later.
_SAMPLED_WITHIN_S = 1.0


@with_arguments
def check(phase: str) -> Check:
    """Whether nobody lacked an address in ``phase`` although DNS answered nobody."""
    question = f"Do clients live on their last answer while DNS is silent in {phase}?"
    needs = frozenset({"load", "metrics", "gateways", f"fault:{phase}"})
    return Check(
        "clients-use-stale-dns",
        _name(phase),
        question,
        lambda view: _run(view, phase),
        needs,
        timing=False,
        phase=phase,
    )


def _name(phase: str) -> str:
    return f"clients live on the last answer in {phase}"


def _run(view: RunView, phase: str) -> CheckResult:
    name = _name(phase)
    try:
        fault = SinceFault.of(view, phase)
    except NotMeasured as error:
        return CheckResult(name, Status.INCONCLUSIVE, str(error), _OBJECTIVE, phase=phase)
    samples = view.metrics("dns", "answered")
    samples = samples[samples["t_s"].between(fault.begin_s + _SAMPLED_WITHIN_S, fault.end_s)]
    rows = view.requests[view.requests["start_s"].between(fault.begin_s, fault.end_s)]
    asked = rows[rows["dns_ms"].notna()]
    lacking = rows[rows["outcome"].eq("dns_error")]
    if samples.empty or samples["value"].ne(0).any():
        why = f"DNS answered {int(samples['value'].sum())} of {len(samples)} samples: it was not silent all the time"
        return CheckResult(name, Status.INCONCLUSIVE, why, _OBJECTIVE, samples=len(rows), phase=phase)
    if asked.empty:
        why = f"none of {len(rows)} attempts asked DNS in {phase}: nobody had to live on an old answer"
        return CheckResult(name, Status.INCONCLUSIVE, why, _OBJECTIVE, samples=len(rows), phase=phase)
    waited_ms = float(asked["dns_ms"].max())
    why = (
        f"{len(lacking)} of {len(rows)} attempts had no address to go to"
        if len(lacking)
        else f"{len(asked)} of {len(rows)} attempts asked in vain, waited {waited_ms:.0f} ms at most and went on"
    )
    return CheckResult(
        name,
        Status.FAIL if len(lacking) else Status.PASS,
        why,
        _OBJECTIVE,
        float(len(lacking)),
        "attempts",
        0.0 - float(len(lacking)),
        len(rows),
        phase,
        example_ids(lacking["request_id"]),
        {"asked_in_vain": len(asked), "longest_wait_ms": waited_ms},
    )
