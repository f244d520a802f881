"""A replica that has rejoined is soon as quick as it was: its users do not pay for the restart for long."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from harness import sli
from harness.checks.streams import ends_s, on_replica
from harness.drill import Check
from harness.verdict import CheckResult, Status
from harness.view import RunView
from stack.topology import REPLICAS

#: A difference that is smaller is noise, and nobody notices it.
SLACK_MS = 100.0
#: The first answers after rejoining, which show what an empty prefix cache costs.
COLD = 10
NAME = "warm-up after rejoining"


def check(restarted: Mapping[str, str], within_s: float, factor: float = 1.5) -> Check:
    """Whether TTFT p95 of the rejoined replicas is ``factor`` times the usual at most, ``within_s`` after it.

    The usual is the baseline's or, where that is slower, what the other replicas need at the same time: when the
    whole machine has become slow it is not the restart. Like is compared with like: the cohort of which there are most
    counts, since some long prompts more or less would decide; all do where it alone is too small.

    ``restarted`` is phase -> replica. Rejoined is when the phase was healed; all of them are looked at together, up to
    the next fault, since one alone seldom has samples enough for a p95.
    """
    question = f"Are restarted replicas as quick as before, or as the others, {within_s:g} s after they have rejoined?"
    needs = frozenset({"load", "gateways", "replicas", *(f"fault:{phase}" for phase in restarted)})
    return Check(NAME, question, lambda view: _run(view, restarted, within_s, factor), needs)


def _run(view: RunView, restarted: Mapping[str, str], within_s: float, factor: float) -> CheckResult:
    objective = f"≤ {factor:g} × the usual TTFT p95"
    baseline = view.attempts(view.baseline) if view.baseline else view.requests.iloc[:0]
    cold, warm, others = [], [], []
    for phase, replica in restarted.items():
        rows = _after(view, phase, replica)
        if rows is None:
            return CheckResult(NAME, Status.INCONCLUSIVE, f"{replica} did not rejoin after {phase}", objective)
        cold.append(rows.head(COLD))
        since = max(event.t_s for event in view.events("fault_healed", phase)) + within_s
        warm.append(rows[rows["start_s"].ge(since)])
        peers = (_after(view, phase, other) for other in REPLICAS if other != replica)
        others += [peer[peer["start_s"].ge(since)] for peer in peers if peer is not None]
    cohorts = _cohorts(baseline, pd.concat(warm))
    compared = (rows[rows["cohort"].isin(cohorts)] for rows in (baseline, pd.concat(warm), pd.concat(others)))
    before, after, peers_p95 = (sli.find("ttft_p95_ms").measure(rows, view) for rows in compared)
    if before.value is None or after.value is None:
        why = f"TTFT p95 was not measured: {before.why or after.why}"
        return CheckResult(NAME, Status.INCONCLUSIVE, why, objective, samples=after.samples)
    usual = max(before.value, peers_p95.value or 0.0)
    limit, tax = max(factor * usual, usual + SLACK_MS), _tax_ms(pd.concat(cold), baseline)
    why = f"TTFT p95 ({', '.join(cohorts)}) was {after.value:.0f} ms after {before.value:.0f} ms in the baseline"
    why += "" if peers_p95.value is None else f" and with {peers_p95.value:.0f} ms of the others at the same time"
    return CheckResult(
        NAME,
        Status.PASS if after.value <= limit else Status.FAIL,
        f"{why}; the first answers took {tax}",
        f"≤ {limit:.6g} ms ({factor:g} × {usual:.6g}, or {SLACK_MS:g} ms more)",
        after.value,
        "ms",
        limit - after.value,
        after.samples,
        examples=after.examples,
        details={
            "baseline_ms": before.value,
            "others_ms": peers_p95.value,
            "cold_answers": sum(map(len, cold)),
            "cold_cache_tax": tax,
        },
    )


def _cohorts(baseline: pd.DataFrame, warm: pd.DataFrame) -> list[str]:
    """The one that asked most in the baseline; all of them where that has too few requests for a p95 afterwards."""
    most = baseline["cohort"].mode().head(1)
    enough = warm["cohort"].isin(most).sum() >= sli.samples_needed(95)
    return list(most if enough else sorted(baseline["cohort"].unique()))


def _after(view: RunView, phase: str, replica: str) -> pd.DataFrame | None:
    """Answers of the replica since it has rejoined and before the next fault; None when it did not rejoin."""
    healed = [event.t_s for event in view.events("fault_healed", phase)]
    if not healed:
        return None
    following = [s.fault_start_s for s in view.phases if s.fault_start_s is not None and s.fault_start_s > max(healed)]
    rows = on_replica(view, replica)
    rows = rows[rows["start_s"].ge(max(healed)) & rows["outcome"].eq("ok")]
    return rows[ends_s(rows).lt(min(following, default=float("inf")))].sort_values("start_s", kind="stable")


def _tax_ms(cold: pd.DataFrame, baseline: pd.DataFrame) -> str:
    """How much longer the first answers took than those of the baseline, in the middle."""
    usual = baseline["ttft_ms"][baseline["outcome"].eq("ok")]
    if cold["ttft_ms"].notna().sum() == 0 or usual.notna().sum() == 0:
        return "an unknown time"
    extra = float(cold["ttft_ms"].median()) - float(usual.median())
    return f"{extra:+.0f} ms compared with it (cold prefix cache)"
