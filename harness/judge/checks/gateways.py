"""The gateways: which replicas they use, whether they say so when they can serve nobody, and how often they retry."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pandas as pd

from harness.evidence.view import RunView
from harness.judge.checks import fault_window
from harness.judge.checks.fault_window import GAP_MAX_S, FaultWindow, step_s
from harness.judge.checks.shapes import asks, last_within, none_bad
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status

# ── which replicas they use ──


@asks(
    "gateway-ejects-replica",
    "gateways eject {replica}",
    "Do the gateways stop using {replica} within {within_s:g} s of the fault in {phase}?",
    "metrics", "gateways", "fault:{phase}",
    timing=True, subject="replica", objective="≤ {within_s:.6g} s",
)  # fmt: skip
def eject(view: RunView, replica: str, phase: str, within_s: float) -> CheckResult:
    """Whether every gateway has ``replica`` out of its rotation within ``within_s`` of the injection in ``phase``."""
    fault, taken = FaultWindow.of(view, phase), dict[str, float | None]()
    # A kill has its effect, and may be noticed, before everything about it is done.
    killed = step_s(view, phase, "killed")
    begin = fault.begin_s if killed is None else killed
    for gateway in view.gateways:
        samples = view.metrics(gateway, "server_up", f"server={replica}")
        before = samples[samples["t_s"].le(fault.ordered_s)]
        during = samples[samples["t_s"].gt(fault.ordered_s) & samples["t_s"].le(fault.end_s)]
        problem = _unusable(before["value"].tolist(), during["t_s"].tolist(), begin, begin + within_s)
        if problem:
            raise NotMeasured(f"{gateway}: {problem}", len(during))
        out = during["t_s"][during["value"].eq(0)]
        taken[gateway] = None if out.empty else max(0.0, float(out.iloc[0]) - begin)
    never = f"{{who}} never took {replica} out of rotation in {phase}"
    return last_within(taken, within_s, never, f"{{who}} was the last to eject {replica}, {{s}} after the fault")


def _unusable(before: list[float], times: list[float], begin: float, end: float) -> str | None:
    """Why the samples cannot answer the question; None when they can."""
    if not before or not times:
        return "the replica's state in the gateway was not sampled"
    if before[-1] == 0:
        return "the replica was out before the fault"
    edges = [begin, *(t for t in times if begin < t < end), end]
    gap = max(right - left for left, right in itertools.pairwise(edges))
    return f"its state was not sampled for {gap:.1f} s after the fault" if gap > GAP_MAX_S else None


@asks(
    "gateway-readmits-replica",
    "gateways readmit {replica} after {phase}",
    "Do the gateways use {replica} again within {within_s:g} s of healing {phase}?",
    "metrics", "gateways", "fault:{phase}",
    timing=True, after_heal=True, subject="replica", objective="≤ {within_s:.6g} s",
)  # fmt: skip
def readmit(view: RunView, replica: str, phase: str, within_s: float) -> CheckResult:
    """Whether every gateway has ``replica`` back in rotation within ``within_s`` of the heal of ``phase``."""
    span, begin, back = view.phase(phase), fault_window.healed_s(view, phase), dict[str, float | None]()
    if span is None:
        raise NotMeasured(f"{phase} was not healed")
    for gateway in view.gateways:
        samples = view.metrics(gateway, "server_up", f"server={replica}")
        faulty = samples[samples["t_s"].between(span.start_s, begin)]
        after = samples[samples["t_s"].ge(begin)]
        up = after["t_s"][after["value"].eq(1)]
        if not faulty["value"].eq(0).any():
            raise NotMeasured(f"{gateway} never ejected {replica}, so it could not readmit it", len(faulty))
        seen_until = float(after["t_s"].max()) if len(after) else begin
        if up.empty and seen_until < begin + within_s:
            raise NotMeasured(f"{gateway} was only sampled until {seen_until - begin:.1f} s after the heal", len(after))
        back[gateway] = None if up.empty else float(up.iloc[0]) - begin
    never = f"{{who}} never readmitted {replica} after {phase}"
    return last_within(back, within_s, never, f"{{who}} was the last to readmit {replica}, {{s}} after the heal")


# ── whether they are ready ──


@asks(
    "gateway-readiness-falls",
    "{gateway} is not ready in {phase}",
    "Does {gateway} call itself not ready soon after the fault in {phase}?",
    "metrics", "gateways", "fault:{phase}",
    timing=True, subject="gateway", objective="≤ {within}",
)  # fmt: skip
def readiness_falls(view: RunView, gateway: str, phase: str, within: str) -> CheckResult:
    """Whether ``gateway`` is not ready from ``within`` (an expression) after the injection in ``phase`` on."""
    target, fault = fault_window.limit(view, within), FaultWindow.of(view, phase)
    samples = view.metrics(gateway, "ready")
    before = samples["value"][samples["t_s"].le(fault.begin_s)]
    during = samples[samples["t_s"].between(fault.begin_s, fault.end_s)]
    if before.empty or before.iloc[-1] != 1:
        raise NotMeasured(f"{gateway} was not seen to be ready before the fault")
    ms = fault.ms_until(during["t_s"].tolist(), during["value"].eq(0).tolist())
    why = f"{gateway} called itself not ready from {{s}} after the fault on"
    never = f"{gateway} called itself ready until the fault was healed, and could serve nobody"
    return fault_window.judged(target, ms, why, never, len(during))


_COLUMNS = ["request_id", "attempt", "start_s", "headers_ms", "http_status"]
#: A sample without an answer speaks of the second before it: as long as the probe waits, and a bit.
_LOOKS_BACK_S = 1.25


@asks(
    "only-ready-gateways-serve",
    "only ready gateways serve",
    "Is nobody served by a gateway that is not ready, and nobody sent there for longer than DNS needs?",
    "load", "metrics", "gateways",
    timing=True, per_request=True, objective="0 requests at a gateway that is not ready",
)  # fmt: skip
def only_ready_serve(view: RunView, within: str) -> CheckResult:
    """Whether no answer began at a gateway that was not ready, and nobody was sent there from ``within`` on.

    ``within`` is an expression: the time that DNS and its clients may need to notice.
    """
    allowed_s = fault_window.limit(view, within).value / 1000
    stretches = {gateway: list(_not_ready(view, gateway)) for gateway in view.gateways}
    if not any(end - begin > allowed_s for found in stretches.values() for begin, end in found):
        raise NotMeasured(f"no gateway was not ready for longer than {allowed_s:g} s, so nobody could be sent to one")
    served, sent = [], []
    for gateway, found in stretches.items():
        rows = view.requests[view.requests["gateway"].eq(view.address_of(gateway))][_COLUMNS]
        headers = rows["start_s"] + rows["headers_ms"] / 1000
        for begin, end in found:
            served.append(rows[headers.between(begin, end) & rows["http_status"].eq(200)])
            sent.append(rows[rows["start_s"].between(begin + allowed_s, end)])
    return _at_unready(pd.concat(served), pd.concat(sent), len(view.requests), allowed_s)


def _at_unready(served: pd.DataFrame, sent: pd.DataFrame, samples: int, allowed_s: float) -> CheckResult:
    bad = pd.concat([served, sent]).drop_duplicates(["request_id", "attempt"])
    if len(served):
        why = f"{len(served)} answers began at a gateway that called itself not ready"
    elif len(sent):
        why = f"{len(sent)} attempts were sent to a gateway that had not been ready for more than {allowed_s:g} s"
    else:
        why = f"no answer began at a gateway that was not ready, and nobody was sent to one after {allowed_s:g} s"
    details = {"served": len(served), "sent": len(sent)}
    return none_bad(bad, samples, "attempts", why, bad["request_id"], details=details)


def _not_ready(view: RunView, gateway: str) -> Iterator[tuple[float, float]]:
    """Begin and end of each time in which ``gateway`` was certainly not ready. NotMeasured without any sample."""
    samples = view.metrics(gateway, "ready")
    if samples.empty:
        raise NotMeasured(f"the readiness of {gateway} was not sampled")
    out = samples["value"].eq(0)
    for _, stretch in samples["t_s"][out].groupby((~out).cumsum()[out]):
        begin, end = float(stretch.min()), float(stretch.max()) - _LOOKS_BACK_S
        if end > begin:
            yield begin, end


# ── how often they retry ──


@asks(
    "upstream-amplification",
    "upstream amplification in {phase}",
    "Do the gateways keep their own retries bounded in {phase}?",
    "load", "metrics", "gateways", "fault:{phase}",
    timing=False,
)  # fmt: skip
def amplification_bounded(view: RunView, phase: str) -> CheckResult:
    """Whether upstream sessions per client attempt stay within 1 + the gateways' retries in ``phase``."""
    span = view.phase(phase)
    if span is None or span.end_s is None or "retries" not in view.gateway_policy:
        raise NotMeasured(f"{phase} has no end, or the plan has no gateway policy")
    most = 1 + view.gateway_policy["retries"]
    growth = [_growth(view, g, r, span.start_s, span.end_s) for g in view.gateways for r in view.replicas]
    known = [found for found in growth if found is not None]
    attempts = _in_flight(view, min((b for b, _, _ in known), default=0), max((e for _, e, _ in known), default=0))
    if len(known) < len(growth) or attempts == 0:
        why = "the gateways' session counters were not sampled" if attempts else f"there were no attempts in {phase}"
        raise NotMeasured(why, attempts, f"≤ {most:g}")
    sessions = sum(count for _, _, count in known)
    measured = sessions / attempts
    return CheckResult(
        "",
        Status.PASS if measured <= most else Status.FAIL,
        f"{sessions:.0f} upstream sessions for {attempts} client attempts in flight, {measured:.2f} each",
        f"≤ {most:.6g} (1 + {most - 1:.6g} retries)",
        measured,
        "sessions per attempt",
        most - measured,
        attempts,
    )


def _growth(view: RunView, gateway: str, replica: str, begin: float, end: float) -> tuple[float, float, float] | None:
    """The samples that enclose the phase and what the counter gained between them; restarts count from 0."""
    samples = view.metrics(gateway, "server_sessions_total", f"server={replica}")
    times = samples["t_s"]
    first, last = times[times.le(begin)].max(), times[times.ge(end)].min()
    if pd.isna(first) or pd.isna(last):
        return None
    values = samples["value"][times.between(first, last)].to_numpy(dtype=float)
    steps = values[1:] - values[:-1]
    return float(first), float(last), float(steps.clip(min=0).sum() + values[1:][steps < 0].sum())


def _in_flight(view: RunView, begin: float, end: float) -> int:
    """Attempts that a gateway can have seen in that time: each upstream session in it is one of theirs."""
    rows = view.requests[view.requests["first_byte_sent_s"].notna()]
    ends = rows["end_s"]
    return int((rows["start_s"].le(end) & ends.ge(begin)).sum())
