"""How bad it was (docs/incidents.md): by the share of users that it hit, and by the error budget that it burned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.judge import burn
from harness.judge.burn import Burned
from harness.model.incident import NOT_MEASURED, Source
from reports.incident.case import Case
from reports.incident.times import Times
from reports.panel import number

#: Level, from which share of users on, from which share of the budget of 30 days on. Below both of all: the least.
LEVELS = (("SEV1", 0.5, 0.10), ("SEV2", 0.1, 0.02))
LEAST, NONE = "SEV3", "none"


@dataclass(frozen=True)
class Severity:
    """The level, what it rests on in words, and where from."""

    level: str
    why: str
    source: Source


def budget(case: Case) -> Burned:
    """What the requests that were not answered burned."""
    answers = case.promises()[0]
    counted = answers.counted
    at_s, bad = counted.at_s, counted.bad.round().astype(int)
    total = np.maximum(counted.total.round().astype(int), bad)
    ends = np.repeat(at_s, total)
    flags = np.concatenate([np.arange(n) < k for n, k in zip(total, bad, strict=True)]) if len(total) else np.array([])
    return burn.replay(ends, flags.astype(bool), 0.0, case.lasts_s, answers.target)


def unseen(case: Case) -> str:
    """Why nobody can say that no objective was broken; "" where requests were counted all the time."""
    if case.promises()[0].counted.total.sum() == 0:
        return "no request was counted"
    counting = {"requests_total", "failures_total"}
    blind = [h for h in case.holes() if h.who in case.gateways and (not h.signals or counting & {*h.signals})]
    return f"{blind[0].who}, which counts requests, has data missing" if blind else ""


def of(case: Case, times: Times) -> Severity:
    """The worse of the two; where users cannot be told apart, the budget alone."""
    users, burned = case.users(), budget(case)
    source = case.promises()[0].source
    share = users[0] / users[1] if users and users[1] else None
    spent = burned.of_period
    said = [
        "users hit: not measured" if users is None else f"{users[0]} of {users[1]} users hit",
        "budget of 30 days burned: " + ("not measured" if spent is None else number(100 * spent, "%")),
    ]
    if not times.outside:
        lacking = unseen(case)
        return Severity(NOT_MEASURED if lacking else NONE, lacking or "no objective was broken", source)
    for level, users_from, budget_from in LEVELS:
        if (share is not None and share >= users_from) or (spent is not None and spent >= budget_from):
            return Severity(level, "; ".join(said), source)
    return Severity(LEAST, "; ".join(said), source)
