"""DNS: away from a gateway that cannot serve, back once it can, and what clients do when DNS is silent."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge.checks import fault_window
from harness.judge.checks.fault_window import GAP_MAX_S, FaultWindow
from harness.judge.checks.recovers_within import watched_until
from harness.judge.checks.shapes import asks, none_bad
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status


@dataclass(frozen=True)
class _Answer:
    """What DNS said at one moment."""

    t_s: float
    addresses: frozenset[str]


def _answers(view: RunView, begin_s: float, end_s: float) -> list[_Answer]:
    """What DNS answered in that time; moments without an answer are left out."""
    samples = view.metrics("dns", "answer")
    samples = samples[samples["t_s"].between(begin_s, end_s)]
    found: dict[float, set[str]] = {}
    for t_s, label in zip(samples["t_s"].tolist(), samples["labels"], strict=True):
        found.setdefault(t_s, set()).add(label.removeprefix("address="))
    return [_Answer(t_s, frozenset(addresses)) for t_s, addresses in found.items()]


def led_to(view: RunView, gateway: str, before_s: float) -> bool | None:
    """Whether the last answer before that moment named ``gateway``; None when there was none."""
    found = _answers(view, before_s - GAP_MAX_S, before_s)
    return view.address_of(gateway) in found[-1].addresses if found else None


@asks(
    "dns-ejects-gateway",
    "DNS fails over from {gateway} in {phase}",
    "Does DNS fail over from {gateway} soon after the fault in {phase}, and stay away?",
    "metrics", "gateways", "fault:{phase}",
    timing=True, subject="gateway", objective="≤ {within}",
)  # fmt: skip
def fails_over(view: RunView, gateway: str, phase: str, within: str) -> CheckResult:
    """Whether DNS names only other gateways from ``within`` (an expression) after the injection in ``phase`` on."""
    target, fault = fault_window.limit(view, within), FaultWindow.of(view, phase)
    if not led_to(view, gateway, fault.begin_s):
        raise NotMeasured(f"DNS was not seen to lead to {gateway} before the fault")
    ms, answers = left_after_ms(view, gateway, fault)
    why = f"DNS named another gateway from {{s}} after the fault on (n = {answers} answers)"
    return fault_window.judged(target, ms, why, f"DNS still named {gateway} when the fault was healed", answers)


def left_after_ms(view: RunView, gateway: str, fault: FaultWindow) -> tuple[float | None, int]:
    """Milliseconds from the fault until no answer named ``gateway`` any more, and of how many answers; None: never.

    NotMeasured where DNS was not asked often enough.
    """
    found, mine = _answers(view, fault.begin_s, fault.end_s), view.address_of(gateway)
    return fault.ms_until([a.t_s for a in found], [mine not in a.addresses for a in found]), len(found)


# ── back again ──


@asks(
    "dns-fails-back",
    "failback to {gateway} after {phase}",
    "Does traffic come back to {gateway} after {phase} in one move that nobody notices?",
    "load", "metrics", "gateways", "fault:{phase}",
    timing=False, subject="gateway", objective="≤ 1 switch back, 0 errors",
)  # fmt: skip
def fails_back(view: RunView, gateway: str, phase: str) -> CheckResult:
    """Whether DNS leads back to ``gateway`` after the heal of ``phase``, once, and no attempt from then on fails."""
    healed, begin = fault_window.healed_s(view, phase), FaultWindow.of(view, phase).end_s
    if led_to(view, gateway, begin) is not False:
        raise NotMeasured(f"DNS was not seen to fail over from {gateway}, so it could not fail back")
    end = watched_until(view, healed)
    found = _answers(view, begin, end)
    gap_s = max(right - left for left, right in itertools.pairwise([begin, *(a.t_s for a in found), end]))
    if gap_s > GAP_MAX_S:
        why = f"DNS gave no answer for {gap_s:.1f} s after the heal: what it would have said is not known"
        raise NotMeasured(why, len(found))
    mine = view.address_of(gateway)
    back = named_again_s(view, gateway, begin, end)
    if back is None:
        why = f"DNS never led back to {gateway} in the {end - healed:.0f} s after the heal"
        return CheckResult("", Status.FAIL, why, samples=len(found))
    ways = [False, *(mine in answer.addresses for answer in found)]
    switches = sum(left != right for left, right in itertools.pairwise(ways))
    # From the answer before: the first clients may have gone back just after it.
    since = max((answer.t_s for answer in found if answer.t_s < back), default=healed)
    failed = _failed(view, since, end)
    why = f"DNS led back to {gateway} once, {back - healed:.1f} s after the heal, and no attempt failed from then on"
    if switches > 1:
        why = f"DNS changed its mind {switches} times after the heal"
    elif failed:
        why = f"{len(failed)} attempts failed after DNS had led back to {gateway}"
    return CheckResult(
        "",
        Status.FAIL if switches > 1 or failed else Status.PASS,
        why,
        measured=float(switches),
        unit="switches",
        margin=1.0 - switches,
        samples=len(found),
        examples=tuple(dict.fromkeys(failed))[:5],
        details={"back_s": back - healed, "failed": len(failed)},
    )


def named_other(view: RunView, gateway: str, begin_s: float, end_s: float) -> bool:
    """Whether any answer of that time named only gateways that are not this one."""
    mine = view.address_of(gateway)
    return any(mine not in answer.addresses for answer in _answers(view, begin_s, end_s))


def named_again_s(view: RunView, gateway: str, begin_s: float, end_s: float) -> float | None:
    """When DNS first named ``gateway`` in that time, in seconds since the run's zero; None where it did not."""
    mine = view.address_of(gateway)
    return next((answer.t_s for answer in _answers(view, begin_s, end_s) if mine in answer.addresses), None)


def _failed(view: RunView, begin: float, end: float) -> list[str]:
    """Requests with an attempt that was begun in that time and failed in it; later the next fault is to blame."""
    rows = view.requests[view.requests["start_s"].between(begin, end)]
    rows = rows[~rows["outcome"].isin(["ok", *NOT_OF_THE_SERVICE])]
    return [str(i) for i in rows["request_id"][rows["end_s"].lt(end)]]


# ── silent ──

#: A question that was asked just before the fault is in the samples so much later.
_SAMPLED_WITHIN_S = 1.0


@asks(
    "clients-use-stale-dns",
    "clients use stale DNS in {phase}",
    "Do clients use their last DNS answer while DNS is silent in {phase}?",
    "load", "metrics", "gateways", "fault:{phase}",
    timing=False, objective="0 requests without an address",
)  # fmt: skip
def clients_use_stale_answers(view: RunView, phase: str) -> CheckResult:
    """Whether nobody lacked an address in ``phase`` although DNS answered nobody."""
    fault = FaultWindow.of(view, phase)
    samples = view.metrics("dns", "answered")
    samples = samples[samples["t_s"].between(fault.begin_s + _SAMPLED_WITHIN_S, fault.end_s)]
    rows = view.requests[view.requests["start_s"].between(fault.begin_s, fault.end_s)]
    asked = rows[rows["dns_ms"].notna()]
    lacking = rows[rows["outcome"].eq("dns_error")]
    if samples.empty or samples["value"].ne(0).any():
        why = f"DNS answered {int(samples['value'].sum())} of {len(samples)} samples: it was not silent all the time"
        raise NotMeasured(why, len(rows))
    if asked.empty:
        why = f"none of {len(rows)} attempts asked DNS in {phase}: nobody had to live on an old answer"
        raise NotMeasured(why, len(rows))
    waited_ms = float(asked["dns_ms"].max())
    why = f"{len(asked)} of {len(rows)} attempts asked in vain, waited {waited_ms:.0f} ms at most and went on"
    if len(lacking):
        why = f"{len(lacking)} of {len(rows)} attempts had no address to go to"
    details = {"asked_in_vain": len(asked), "longest_wait_ms": waited_ms}
    return none_bad(lacking, len(rows), "attempts", why, lacking["request_id"], details=details)
