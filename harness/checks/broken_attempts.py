"""Answers that break off, and requests without one, have a limit of their own: tries that follow make up for them.

Availability counts requests: when each first stream breaks and the second one ends well, it is 100 %. A fault may
break what is in flight when it comes, and what is sent to it until gateways or DNS have noticed; that is its mechanism.
From the one link of an external target nobody can be led away: what falls silent there breaks streams until its heal.
Nothing else breaks a stream: not a service in its steady state, not one that has recovered, not what is done in order
(a drain, a restart, a rollout), not what other clients do. There the service's promise of 99 % is one for attempts.
"""

from __future__ import annotations

import dataclasses
import math

import pandas as pd

from harness.checks.streams import HARNESS
from harness.drill import Check
from harness.phases import PhaseSpan
from harness.verdict import CheckResult, Status
from harness.view import RunView
from stack.topology import DNS_POLICY, GatewayPolicy

NAME = "broken attempts bounded"
#: The error budget of the default objective for availability.
AT_MOST_PERCENT = 1.0
#: What is carried out in order, or done by clients: it breaks nothing of others.
_BREAKS_NOTHING = frozenset(
    {"cancel_wave", "drain", "long_contexts", "oversized", "restart", "swap", "weight", "widened"}
)


def check() -> Check:
    """The check. What a heal has cut is Drillyard's doing (``per_request``)."""
    question = "Do no more than 1 % of the attempts break, but for those that met a fault before it was noticed?"
    return Check(NAME, question, _run, frozenset({"load"}), timing=True, per_request=True)


def _run(view: RunView) -> CheckResult:
    objective = f"≤ {AT_MOST_PERCENT:g} % of each phase's attempts, or one"
    found = [(span, *_of_phase(view, span)) for span in view.phases if span.kind != "warmup"]
    found = [one for one in found if len(one[1])]
    if not found:
        return CheckResult(NAME, Status.INCONCLUSIVE, "there were no attempts to look at", objective, samples=0)
    shares = {span.name: 100.0 * len(bad) / len(rows) for span, rows, bad in found}
    span, rows, bad = max(found, key=lambda one: len(one[2]) / _allowed(len(one[1])))
    worst, total = shares[span.name], sum(len(rows) for _, rows, _ in found)
    kinds = ", ".join(f"{n} × {kind}" for kind, n in bad["outcome"].value_counts().sort_index().items())
    why = f"{len(bad)} of {len(rows)} attempts broke or got no answer in {span.name}" + (f": {kinds}" if kinds else "")
    return CheckResult(
        NAME,
        Status.PASS if len(bad) <= _allowed(len(rows)) else Status.FAIL,
        why,
        objective,
        worst,
        "%",
        100.0 * _allowed(len(rows)) / len(rows) - worst,
        total,
        examples=tuple(str(i) for i in bad["request_id"].head(5)),
        details=shares,
    )


def _allowed(count: int) -> float:
    """How many of ``count`` attempts may break: of few, one, which tells nothing."""
    return max(1.0, AT_MOST_PERCENT / 100 * count)


def _of_phase(view: RunView, span: PhaseSpan) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The attempts that nothing may break, and those of them that broke; where a fault is, only streams that broke."""
    rows = view.attempts(span.name)
    rows = rows[~rows["outcome"].isin(HARNESS)]
    failed = rows["outcome"].ne("ok")
    begun = rows["http_status"].eq(200)
    if not _breaks(view, span.name):
        return rows, rows[failed & (begun | rows["http_status"].isna())]
    injected = [e.t_s for e in view.events("fault_injected", span.name)]
    since_s = max(injected, default=math.inf) + _noticed_within_s(view)
    rows = rows[rows["start_s"].gt(math.inf if _only_link_silent(view, span.name) else since_s)]
    return rows, rows[rows["outcome"].ne("ok") & rows["http_status"].eq(200)]


def _breaks(view: RunView, phase: str) -> bool:
    """Whether a fault of that phase may break what is in flight; so may a restart that does not drain first."""
    planned = [fault for one in view.planned_phases if one["name"] == phase for fault in one["faults"]]
    return any(one["type"] not in _BREAKS_NOTHING or one["options"].get("drain") is False for one in planned)


def _only_link_silent(view: RunView, phase: str) -> bool:
    """Whether nobody can be led away from what is silent: to an external target there is one link."""
    silent = [one for one in view.plan.get("faults") or () if one["phase"] == phase and one.get("silences")]
    return view.target is not None and bool(silent)


def _noticed_within_s(view: RunView) -> float:
    """How long gateways or DNS may take to lead users away from anything that is broken, and a second."""
    fields = {field.name for field in dataclasses.fields(GatewayPolicy)}
    policy = GatewayPolicy(**{k: v for k, v in view.gateway_policy.items() if k in fields})  # type: ignore[arg-type]
    dns = vars(DNS_POLICY) | view.plan.get("dns_policy", {})
    dns_s = dns["ttl_s"] + dns["check_interval_s"] + dns["check_timeout_s"]
    return float(max(policy.silent_noticed_within_s, policy.deaf_noticed_within_s) + dns_s + 1.0)
