"""A replica that has rejoined is soon as quick as it was: its users do not pay for the restart for long."""

from __future__ import annotations

from collections.abc import Mapping

from harness.evidence.attempts import Attempts
from harness.evidence.view import RunView
from harness.judge import sli
from harness.judge.checks.streams import on_replica
from harness.judge.drill import Check
from harness.model.verdict import CheckResult, Status

#: A difference that is smaller is noise, and nobody notices it.
SLACK_MS = 100.0
#: The first answers after rejoining, which show what an empty prefix cache costs.
COLD = 10
NAME = "warm-up after rejoining"


def check(restarted: Mapping[str, str], within_s: float, factor: float = 1.5) -> Check:
    """Whether TTFT p95 of the rejoined replicas is ``factor`` times the baseline's at most, ``within_s`` after it.

    When it is not, like is compared with like before the restart is blamed: nobody knows whose fault it is when the
    other replicas are as slow at the same time, or when it was a burst of long prompts.

    ``restarted`` is phase -> replica. Rejoined is when the phase was healed; all of them are looked at together, up to
    the next fault, since one alone seldom has samples enough for a p95.
    """
    question = f"Are restarted replicas as quick as before {within_s:g} s after they have rejoined?"
    needs = frozenset({"load", "gateways", "replicas", *(f"fault:{phase}" for phase in restarted)})
    return Check(
        "warm-up-after-rejoin",
        NAME,
        question,
        lambda view: _run(view, restarted, within_s, factor),
        needs,
        timing=True,
        per_request=True,
    )


def _run(view: RunView, restarted: Mapping[str, str], within_s: float, factor: float) -> CheckResult:
    objective = f"≤ {factor:g} × the baseline's TTFT p95"
    baseline = view.attempts(view.baseline) if view.baseline else view.requests.head(0)
    cold, warm, others = [], [], []
    for phase, replica in restarted.items():
        rows = _after(view, phase, replica)
        if rows is None:
            return CheckResult(NAME, Status.INCONCLUSIVE, f"{replica} did not rejoin after {phase}", objective)
        cold.append(rows.head(COLD))
        since = max(event.t_s for event in view.events("fault_healed", phase)) + within_s
        warm.append(rows[rows["start_s"].ge(since)])
        peers = (_after(view, phase, other) for other in view.replicas if other != replica)
        others += [peer[peer["start_s"].ge(since)] for peer in peers if peer is not None]
    before, after = _p95(baseline, view), _p95(Attempts.concat(warm), view)
    if before.value is None or after.value is None:
        why = f"TTFT p95 was not measured: {before.why or after.why}"
        return CheckResult(NAME, Status.INCONCLUSIVE, why, objective, samples=after.samples)
    limit, tax = _limit(before.value, factor), _tax_ms(Attempts.concat(cold), baseline)
    status, why = Status.PASS, f"TTFT p95 was {after.value:.0f} ms after {before.value:.0f} ms in the baseline"
    if after.value > limit:
        status, alike = _blamed(view, baseline, Attempts.concat(warm), Attempts.concat(others), factor)
        why += f"; {alike}"
    return CheckResult(
        NAME,
        status,
        f"{why}; the first answers took {tax}",
        f"≤ {limit:.6g} ms ({factor:g} × {before.value:.6g}, or {SLACK_MS:g} ms more)",
        after.value,
        "ms",
        limit - after.value,
        after.samples,
        examples=after.examples,
        details={"baseline_ms": before.value, "cold_answers": sum(map(len, cold)), "cold_cache_tax": tax},
    )


def _limit(usual_ms: float, factor: float) -> float:
    return max(factor * usual_ms, usual_ms + SLACK_MS)


def _p95(rows: Attempts, view: RunView) -> sli.Measurement:
    return sli.find("ttft_p95_ms").measure(rows, view)


def _blamed(view: RunView, baseline: Attempts, warm: Attempts, others: Attempts, factor: float) -> tuple[Status, str]:
    """What a slow p95 is worth, FAIL where like is slower than like, too, or INCONCLUSIVE; and what was compared."""
    who = str(baseline["cohort"].mode().iloc[0])
    like = [_p95(rows[rows["cohort"].eq(who)], view).value for rows in (baseline, warm, others)]
    if like[0] is None or like[1] is None:  # too few of the largest cohort: of everybody there are enough
        who, like = "everybody", [_p95(rows, view).value for rows in (baseline, warm, others)]
    before, after, peers = like
    assert before is not None and after is not None  # the caller has measured them
    usual = before if peers is None else max(before, peers)
    why = f"{who}: {after:.0f} ms after {before:.0f} ms"
    why += "" if peers is None else f", and {peers:.0f} ms on the others at the same time"
    if after > _limit(usual, factor):
        return Status.FAIL, why
    return Status.INCONCLUSIVE, f"{why}: whether the restart is to blame is not known"


def _after(view: RunView, phase: str, replica: str) -> Attempts | None:
    """Answers of the replica since it has rejoined and before the next fault; None when it did not rejoin."""
    healed = [event.t_s for event in view.events("fault_healed", phase)]
    if not healed:
        return None
    following = [s.fault_start_s for s in view.phases if s.fault_start_s is not None and s.fault_start_s > max(healed)]
    rows = on_replica(view, replica)
    rows = rows[rows["start_s"].ge(max(healed)) & rows["outcome"].eq("ok")]
    return rows[rows["end_s"].lt(min(following, default=float("inf")))].sort_values("start_s", kind="stable")


def _tax_ms(cold: Attempts, baseline: Attempts) -> str:
    """How much longer the first answers took than those of the baseline, in the middle."""
    usual = baseline["ttft_ms"][baseline["outcome"].eq("ok")]
    if cold["ttft_ms"].notna().sum() == 0 or usual.notna().sum() == 0:
        return "an unknown time"
    extra = float(cold["ttft_ms"].median()) - float(usual.median())
    return f"{extra:+.0f} ms compared with the baseline (cold prefix cache)"
