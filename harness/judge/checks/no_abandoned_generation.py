"""Replicas do not go on generating for requests that nobody waits for any more."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.evidence.view import RunView
from harness.judge.drill import Check, with_arguments
from harness.model.verdict import CheckResult, Status

_BUSY_MAX_S = 2.0  # a synthetic generation may be running; nobody's request may
_TOKEN_SHARE = 0.25  # of the baseline's token rate: synthetic generations are a few tokens per second
_GAP_MAX_S = 2.0


@with_arguments
def check(phase: str, within_s: float) -> Check:
    """Whether every replica is idle from ``within_s`` after the injection in ``phase`` until its heal."""
    question = f"Do the replicas stop working within {within_s:g} s when no answer of theirs gets out in {phase}?"
    needs = frozenset({"metrics", "replicas", f"fault:{phase}"})
    return Check(
        "no-abandoned-generation",
        _name(phase),
        question,
        lambda view: _run(view, phase, within_s),
        needs,
        timing=True,
        phase=phase,
    )


def _name(phase: str) -> str:
    return f"no abandoned generation in {phase}"


def _run(view: RunView, phase: str, within_s: float) -> CheckResult:
    name, objective = _name(phase), f"idle ≤ {within_s:.6g} s after the fault"
    injected = [e.t_s for e in view.events("fault_injected", phase)]
    healing = [e.t_s for e in view.events("fault_healing", phase)]
    if not injected or not healing:
        why = f"{phase} was not injected and healed"
        return CheckResult(name, Status.INCONCLUSIVE, why, objective, phase=phase)
    begin, end = max(injected) + within_s, min(healing)
    busiest: tuple[float, str] = (0.0, view.replicas[0])
    shares: dict[str, float] = {}
    for replica in view.replicas:
        running = view.metrics(replica, "running")
        running = running[running["t_s"].between(begin, end)]
        share = _token_share(view, replica, begin, end)
        if share is None or _unsampled(running, begin, end):
            why = f"{replica} was not sampled well enough between {begin:.1f} s and {end:.1f} s, or in the baseline"
            return CheckResult(name, Status.INCONCLUSIVE, why, objective, samples=len(running), phase=phase)
        shares[replica] = share
        busiest = max(busiest, (_longest_busy(running), replica))
    return _result(name, objective, phase, busiest, shares)


def _result(name: str, objective: str, phase: str, busiest: tuple[float, str], shares: dict[str, float]) -> CheckResult:
    hungry = max(shares, key=lambda replica: shares[replica])
    if busiest[0] > _BUSY_MAX_S:
        status, why = Status.FAIL, f"{busiest[1]} had requests running for {busiest[0]:.1f} s without a break"
    elif shares[hungry] > _TOKEN_SHARE:
        status, why = Status.FAIL, f"{hungry} went on generating at {shares[hungry]:.0%} of its rate in the baseline"
    else:
        status, why = Status.PASS, "every replica fell idle, and generated next to nothing"
    return CheckResult(
        name, status, why, objective, busiest[0], "s busy", _BUSY_MAX_S - busiest[0], phase=phase,
        details={"token_rate_of_baseline": shares},
    )  # fmt: skip


def _unsampled(running: pd.DataFrame, begin: float, end: float) -> bool:
    edges = np.concatenate([[begin], running["t_s"].to_numpy(dtype=float), [end]])
    return end <= begin or float(np.diff(edges).max()) > _GAP_MAX_S


def _longest_busy(running: pd.DataFrame) -> float:
    """Longest stretch between the first and the last of consecutive samples with something running, in seconds."""
    busy = running["value"].gt(0)
    stretches = running["t_s"][busy].groupby((~busy).cumsum()[busy])
    return float((stretches.max() - stretches.min()).max()) if busy.any() else 0.0


def _token_share(view: RunView, replica: str, begin: float, end: float) -> float | None:
    """Token rate in that time as a share of the baseline's; None when either was not sampled."""
    baseline = view.phase(view.baseline) if view.baseline else None
    if baseline is None or baseline.end_s is None:
        return None
    before = _rate(view, replica, baseline.start_s, baseline.end_s)
    now = _rate(view, replica, begin, end)
    return None if not before or now is None else now / before


def _rate(view: RunView, replica: str, begin: float, end: float) -> float | None:
    samples = view.metrics(replica, "generation_tokens_total")
    samples = samples[samples["t_s"].between(begin, end)]
    if len(samples) < 2:
        return None
    seconds = float(samples["t_s"].iloc[-1] - samples["t_s"].iloc[0])
    gained = np.diff(samples["value"].to_numpy(dtype=float)).clip(min=0).sum()
    return float(gained) / seconds if seconds > 0 else None
