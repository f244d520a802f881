"""What the checks of a rollout share: its ledger, what was asked for, and which version answered which user."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.evidence.view import RunView
from harness.judge.slo import NotMeasured
from harness.model.options import swap
from harness.model.rollout import Rollout, Stage

#: A sample or a request so close to a change belongs to neither side of it.
EDGE_S = 0.5
#: What is less probable than that is no luck any more.
_NO_LUCK = 0.001


def recorded(view: RunView) -> Rollout:
    """The rollout that this run has carried through. NotMeasured without one."""
    if view.rollout is None:
        raise NotMeasured("no rollout was recorded")
    return view.rollout


def decided_s(rollout: Rollout) -> float:
    """When it was decided what becomes of the candidate. NotMeasured when it never was."""
    if rollout.decision is None or rollout.decided_s is None:
        raise NotMeasured("the candidate was never judged")
    return rollout.decided_s


def canary(rollout: Rollout) -> Stage | None:
    """The stage in which some users met the candidate; None when it did not come to that."""
    return next((stage for stage in rollout.stages if stage.name == "canary"), None)


def wanted(view: RunView, phase: str) -> swap.Options:
    """The options of the rollout in the scenario. NotMeasured without one."""
    faults: list[dict[str, Any]] = next((p["faults"] for p in view.planned_phases if p["name"] == phase), [])
    asked = next((fault["options"] for fault in faults if fault["type"] == "swap"), None)
    if asked is None:
        raise NotMeasured(f"the scenario rolls nothing out in {phase}")
    return swap.Options.stored(asked)


#: What is asked of answers.
_ANSWERS = [
    "request_id", "user_id", "start_s", "end_s", "replica", "gateway_replica", "served_version", "answer_correct",
]  # fmt: skip


def answered(view: RunView) -> pd.DataFrame:
    """Users' attempts that some engine has answered, with its version, and when each of them ended."""
    rows = view.requests[_ANSWERS]
    rows = rows.assign(replica=rows["replica"].where(rows["replica"].notna(), rows["gateway_replica"]))
    return rows[rows["served_version"].notna() & rows["replica"].fillna("").ne("")]


@dataclass(frozen=True)
class Drawn:
    """How many of some requests went one way, and how many can have when each was drawn with that probability."""

    count: int
    of: int
    share: float

    @property
    def most(self) -> int:
        """More would be no luck any more."""
        return next((k for k, until in enumerate(self._cumulated()) if 1 - until < _NO_LUCK), self.of)

    @property
    def least(self) -> int:
        """Fewer would be no bad luck any more."""
        return sum(until < _NO_LUCK for until in self._cumulated())

    def _cumulated(self) -> Iterator[float]:
        """How probable it is that at most 0, 1, … of them go that way: the binomial distribution."""
        until, n, p = 0.0, self.of, self.share
        for k in range(n + 1):
            ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
            until += math.exp(ways + k * math.log(p) + (n - k) * math.log(1 - p))
            yield until


def users_in_canary(view: RunView, rollout: Rollout) -> tuple[pd.DataFrame, Drawn] | None:
    """Answers that users got from the candidate while it was a canary, and their number; None without a canary."""
    stage = canary(rollout)
    if stage is None:
        return None
    rows = answered(view)
    rows = rows[rows["start_s"].between(stage.began_s + EDGE_S, decided_s(rollout))]
    met = rows[rows["served_version"].eq(rollout.candidate.version)]
    return met, Drawn(len(met), len(rows), stage.percent / 100)


def met_unjudged(view: RunView, rollout: Rollout) -> pd.DataFrame:
    """All answers that users got from the candidate before it was judged; those sent at the very edges, too."""
    rows = answered(view)
    return rows[rows["served_version"].eq(rollout.candidate.version) & rows["start_s"].le(decided_s(rollout))]


def weights(view: RunView, replica: str, begin_s: float, end_s: float) -> pd.DataFrame:
    """Samples of the weight that the gateways give ``replica`` in that time. NotMeasured when one was not sampled."""
    found = []
    for gateway in view.gateways:
        samples = view.metrics(gateway, "server_weight", f"server={replica}")
        samples = samples[samples["t_s"].between(begin_s, end_s)]
        if samples.empty:
            raise NotMeasured(f"the weight that {gateway} gives {replica} was not sampled")
        found.append(samples)
    return pd.concat(found)
