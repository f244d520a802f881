"""Client retries are few, jittered, capped, and never sooner than the server asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.evidence.attempts import EXAMPLES, Attempts, example_ids, of_retried
from harness.evidence.view import RunView
from harness.judge.checks.shapes import asks
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status

#: Up to twice what the cap allows, a busy generator may have started late; beyond it, the cap is not kept.
_LATE_MAX = 2.0
_LATE_MS = 250.0  # starts of a generator that is not busy are no later
_EARLY_MS = 1.0
_DELAYS_MIN = 10
_COLUMNS = ["request_id", "attempt", "retry_after_s", "retry_delay_ms"]
_SPREAD_MIN = 0.144  # half the standard deviation of a uniform distribution over [0, 1]


@asks(
    "client-retries-bounded",
    "client retries bounded",
    "Are the clients' retries few, spread out and patient?",
    "load",
    timing=False,
)  # fmt: skip
def check(view: RunView) -> CheckResult:
    """The check, over the whole run: few, jittered, capped, and never sooner than the server asked for."""
    rows, policy = view.requests, view.retries
    most = 1 + policy.max
    if rows.empty:
        raise NotMeasured("there were no requests", 0, f"≤ {most}")
    number = rows["request"]
    attempts = rows["attempt"][number.ge(0)].groupby(number).max()
    amplification = len(rows) / len(attempts)
    cap_ms = policy.cap * 1000
    delays = _delays(rows, policy.base * 1000, cap_ms)
    over = rows[number.isin(attempts.index[attempts > most])]["request_id"]
    problem, examples = _problem(delays, cap_ms)
    if len(over):
        status, why = Status.FAIL, f"{over.nunique()} requests were tried more than {most} times"
        examples = tuple(sorted(over.unique())[:EXAMPLES])
    elif problem is not None:
        status, why = Status.FAIL, problem
    elif late := int((delays["waited"] > delays["asked"] + cap_ms + _LATE_MS).sum()):
        status = Status.INCONCLUSIVE
        why = f"{late} of {len(delays)} retries were up to {_late_ms(delays, cap_ms):.0f} ms later than the cap allows"
    elif len(delays) < _DELAYS_MIN:
        status = Status.INCONCLUSIVE
        why = f"{len(delays)} retries are too few to see whether they are jittered, {_DELAYS_MIN} are needed"
    else:
        tried = f"{len(delays)} retries for {len(attempts)} requests"
        status, why = Status.PASS, f"{tried}, spread out, at most {attempts.max()} attempts per request"
    objective, margin, count = f"≤ {most} attempts per request", most - amplification, len(attempts)
    details = {"retries": len(delays), "spread": float(delays["part"].std()) if len(delays) > 1 else None}
    return CheckResult(
        "", status, why, objective, amplification, "attempts per request", margin, count,
        examples=examples, details=details,
    )  # fmt: skip


def _late_ms(delays: pd.DataFrame, cap_ms: float) -> float:
    """By how much the latest retry was later than the cap allows, in ms."""
    return float((delays["waited"] - delays["asked"]).max() - cap_ms)


def _delays(rows: Attempts, base_ms: float, cap_ms: float) -> pd.DataFrame:
    """Per retry: what was waited, what the answer before had asked for, and the part of the jitter's span it took."""
    ordered = rows[of_retried(rows)][_COLUMNS].sort_values(["request_id", "attempt"], kind="stable")
    asked = ordered["retry_after_s"].groupby(rows["request"]).shift(1).fillna(0.0) * 1000
    frame = pd.DataFrame(
        {"request_id": ordered["request_id"], "waited": ordered["retry_delay_ms"].astype(float), "asked": asked}
    )[ordered["attempt"].gt(1)]
    span = np.minimum(cap_ms, base_ms * 2.0 ** (ordered["attempt"][frame.index].astype(float) - 2))
    return frame.assign(part=(frame["waited"] - frame["asked"]) / span)


def _problem(delays: pd.DataFrame, cap_ms: float) -> tuple[str | None, tuple[str, ...]]:
    """The first thing that is wrong with the waits, and requests that show it."""
    for where, what in (
        (delays["waited"].isna(), "no recorded wait before them"),
        (delays["waited"] < delays["asked"] - _EARLY_MS, "came sooner than Retry-After had asked for"),
        (delays["waited"] > delays["asked"] + _LATE_MAX * cap_ms + _LATE_MS, "waited longer than the cap allows"),
    ):
        if where.any():
            shown = example_ids(delays["request_id"][where])
            return f"{int(where.sum())} of {len(delays)} retries: {what}", shown
    if len(delays) >= _DELAYS_MIN and float(delays["part"].std()) < _SPREAD_MIN:
        return f"the waits before {len(delays)} retries are all alike: no jitter", ()
    return None, ()
