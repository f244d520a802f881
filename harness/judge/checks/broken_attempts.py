"""Answers that break off, and requests without one, have a limit of their own: tries that follow make up for them.

Availability counts requests: when each first stream breaks and the second one ends well, it is 100 %. A fault may
break what is in flight when it comes, and what is sent to it until gateways or DNS have noticed; that is its mechanism.
From the one link of an external target nobody can be led away: what cuts or silences it breaks streams until its heal.
What delays it breaks none; time-outs are left out where the delay alone can bring clients to that limit.
What a fault leaves behind may break attempts until 95 % of them are well again, at the latest until «recovery after» is
due, where the drill asks for that; in the first window, by which it is judged, one in twenty.
Nothing else breaks a stream: not a service in its steady state, not one that has recovered, not what is done in order
(a drain, a restart, a rollout), not what other clients do. There the service's promise of 99 % is one for attempts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd

from harness.evidence.attempts import Attempts, example_ids, tally
from harness.evidence.phases import PhaseSpan
from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge.checks import recovers_within
from harness.judge.checks.fault_window import last_heal_s
from harness.judge.checks.shapes import asks
from harness.judge.slo import NotMeasured
from harness.model.options import latency, restart
from harness.model.topology import DNS_POLICY
from harness.model.verdict import CheckResult, Status

NAME = "broken attempts bounded"
#: The error budget of the default objective for availability.
AT_MOST_PERCENT = 1.0
#: Errors with a status of their own that no refusal is.
_OWN_ERRORS = ("http_5xx", "protocol_error")
#: Faults of the only link that delay what crosses it; how long depends for all but ``latency`` on what does.
_DELAYS = ("bandwidth", "latency", "slicer")
#: Those, and that a hang-up is heard late; other faults of the link cut.
_CUTS_NOTHING = frozenset({*_DELAYS, "slow_close"})
#: How often an attempt may meet a delay while it connects (the two round trips of a TLS 1.2 handshake), and until its
#: first token.
_CONNECTING, _ANSWERING = 2, 3
#: Of a limit for the answer, what the service may need for itself.
_OWN_SHARE = 0.5
#: What is carried out in order, or done by clients: it breaks nothing of others.
_BREAKS_NOTHING = frozenset(
    {"cancel_wave", "drain", "long_contexts", "oversized", "restart", "swap", "weight", "widened"}
)


@dataclass(frozen=True)
class _PhaseAttempts:
    """The attempts of a phase that nothing may break, those of them that broke, and how many of them may."""

    phase: str
    rows: Attempts
    bad: Attempts
    allowed: float
    left_out: int  # those that the delay of the link alone can have brought to their clients' limits

    @property
    def share(self) -> float:
        """How many broke, in percent."""
        return 100.0 * len(self.bad) / len(self.rows)


@asks(
    "broken-attempts-bounded",
    NAME,
    "Do no more than 1 % of the attempts break, but for those that met a fault before it was noticed?",
    "load",
    timing=True, per_request=True, objective=f"≤ {AT_MOST_PERCENT:g} % of each phase's attempts, or one",
)  # fmt: skip
def check(view: RunView) -> CheckResult:
    """The check. What a heal has cut is Drillyard's doing (``per_request``)."""
    found = [_of_phase(view, before, span) for before, span in pairwise((None, *view.phases)) if span is not None]
    unknown = [one for one in found if one.left_out > len(one.rows)]
    found = [one for one in found if len(one.rows)]
    if not found:
        raise NotMeasured("there were no attempts to look at", 0)
    worst = max(found, key=lambda one: len(one.bad) / one.allowed)
    looked = sum(len(one.rows) for one in found)
    why = f"none of {looked} attempts in {len(found)} phases broke or got no answer"
    if len(worst.bad):
        kinds = ", ".join(f"{n} × {kind}" for kind, n in tally(worst.bad["outcome"]).sort_index().items())
        why = f"{len(worst.bad)} of {len(worst.rows)} attempts broke or got no answer in {worst.phase} ({kinds}), "
        why += f"the worst of {len(found)} phases; {looked} attempts in all"
    if left_out := sum(one.left_out for one in found):
        why += f"; {left_out} time-outs that the delay of the link explains are left out"
    status = Status.PASS if len(worst.bad) <= worst.allowed else Status.FAIL
    if unknown and status is Status.PASS:
        status = Status.INCONCLUSIVE
        one = unknown[0]
        why = f"{one.left_out} of {one.left_out + len(one.rows)} attempts in {one.phase} timed out, which the delay of "
        why += "the link explains: too few are left to judge"
    margin = 100.0 * worst.allowed / len(worst.rows) - worst.share
    details, examples = {one.phase: one.share for one in found}, example_ids(worst.bad["request_id"])
    return CheckResult("", status, why, "", worst.share, "%", margin, looked, examples=examples, details=details)


def _of_phase(view: RunView, before: PhaseSpan | None, span: PhaseSpan) -> _PhaseAttempts:
    """What is to be looked at in a phase that follows ``before``: where a fault is, only streams that broke."""
    rows = view.attempts(span.name)
    rows = rows[~rows["outcome"].isin(NOT_OF_THE_SERVICE) & (span.kind != "warmup")]
    faulty = _is_disruptive(view, span.name)
    since_s = _ejected_at_s(view, span.name) if faulty else _recovered_at_s(view, before)
    rows = rows[rows["start_s"].gt(since_s)]  # a window begins right after an attempt
    broken = _broken(rows) & (rows["http_status"].eq(200) | (not faulty))
    late = _delayed_too_long(view, span.name, rows)
    rows, broken = rows[~late], broken[~late]
    first = 0 if faulty else int(rows["start_s"].lt(since_s + recovers_within.WINDOW_S).sum())
    allowed = (1 - recovers_within.GOOD_MIN) * first + AT_MOST_PERCENT / 100 * (len(rows) - first)
    # Of few, one tells nothing.
    return _PhaseAttempts(span.name, rows, rows[broken], max(1.0, allowed), int(late.sum()))


def _broken(rows: Attempts) -> pd.Series:
    """Marks the attempts that broke off, got no answer, or an error of the service's own; a refusal is an answer."""
    own = rows["http_status"].eq(200) | rows["http_status"].isna() | rows["outcome"].isin(_OWN_ERRORS)
    return rows["outcome"].ne("ok") & own


def _delayed_too_long(view: RunView, phase: str, rows: Attempts) -> pd.Series:
    """Marks the attempts that ended at a limit which a delay of an external target's only link can reach by itself."""
    planned = _planned(view, phase) if view.target is not None else ()
    delays = [_seconds(one) for one in planned if one["type"] in _DELAYS]
    delay_s, jitter_s = (max((one[at] for one in delays), default=0.0) for at in (0, 1))
    limits, answer_s = view.limits, _ANSWERING * delay_s
    reached = {
        "timeout_ttft": answer_s > _OWN_SHARE * limits.first_token,
        "timeout_total": answer_s > _OWN_SHARE * limits.total,
        "timeout_stall": 2 * jitter_s > _OWN_SHARE * limits.idle,  # one event early, the next one late
    }
    late = rows["outcome"].isin([outcome for outcome, reachable in reached.items() if reachable])
    return late | (rows["subtype"].eq("no_answer") & (_CONNECTING * delay_s > limits.connect))


def _recovered_at_s(view: RunView, before: PhaseSpan | None) -> float:
    """Since when a phase has no excuse in the fault of the one before it: where it has none, since ever.

    As «recovery after» has it for requests, for attempts, and at the latest when that is due. Attempts that never come
    right again have no excuse at all.
    """
    healed_s = None if before is None or not _is_disruptive(view, before.name) else last_heal_s(view, before.name)
    if before is None or healed_s is None or recovers_within.check(before.name).key not in view.plan.get("checks", {}):
        return -math.inf
    end_s = recovers_within.watched_until(view, healed_s)
    rows = view.requests[view.requests["start_s"].between(healed_s, end_s)]
    rows = rows[~rows["outcome"].isin(NOT_OF_THE_SERVICE) & ~rows["judged_phase"].isin(view.fault_phases)]
    rows = rows.sort_values("start_s", kind="stable")
    starts = rows["start_s"].to_numpy(dtype=float) - healed_s
    recovered_s, windows = recovers_within.recovery_s(starts, (~_broken(rows)).to_numpy(dtype=bool), end_s - healed_s)
    if recovered_s is None and windows:
        return -math.inf
    return healed_s + min(recovers_within.WITHIN_S, math.inf if recovered_s is None else recovered_s)


def _ejected_at_s(view: RunView, phase: str) -> float:
    """By when gateways or DNS have led users away from what a fault of ``phase`` broke; never, where they cannot."""
    injected = [e.t_s for e in view.events("fault_injected", phase)]
    if not injected or view.target is not None:
        return math.inf
    return max(injected) + _ejected_within_s(view)


def _planned(view: RunView, phase: str) -> list[dict[str, Any]]:
    """The faults of that phase, as the scenario has them."""
    return [fault for one in view.planned_phases if one["name"] == phase for fault in one["faults"]]


def _is_disruptive(view: RunView, phase: str) -> bool:
    """Whether a fault of that phase may break what is in flight; so may a restart that does not drain first."""
    harmless = _BREAKS_NOTHING.union(_CUTS_NOTHING if view.target is not None else ())
    return any(one["type"] not in harmless or _at_once(one) for one in _planned(view, phase))


def _at_once(fault: dict[str, Any]) -> bool:
    """Whether it is a restart under running streams."""
    return fault["type"] == "restart" and not restart.Options.stored(fault["options"]).drain


def _seconds(fault: dict[str, Any]) -> tuple[float, float]:
    """The longest delay of that fault, and how much it varies; endless, where that depends on what crosses it."""
    if fault["type"] != "latency":
        return math.inf, math.inf
    asked = latency.Options.stored(fault["options"])
    return asked.latency + asked.jitter, asked.jitter


def _ejected_within_s(view: RunView) -> float:
    """How long gateways or DNS may take to lead users away from anything that is broken, and a second."""
    policy = view.topology.gateway_policy
    dns = vars(DNS_POLICY) | view.plan.get("dns_policy", {})
    dns_s = dns["ttl_s"] + dns["check_interval_s"] + dns["check_timeout_s"]
    return float(max(policy.silent_noticed_within_s, policy.deaf_noticed_within_s) + dns_s + 1.0)
