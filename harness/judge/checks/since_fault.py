"""What checks share that ask how soon after a fault something was so for good, with a limit made of mechanisms."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harness.evidence.attempts import Rows
from harness.evidence.view import RunView
from harness.judge import objectives, slo
from harness.judge.objectives import Limit
from harness.judge.slo import NotMeasured
from harness.model.topology import CLIENT
from harness.model.verdict import CheckResult, Status

#: Longer without a sample, and nobody knows what happened meanwhile.
GAP_MAX_S = 2.0


@dataclass(frozen=True)
class SinceFault:
    """The time in which the fault of a phase was wholly in place, in seconds since the run's zero."""

    begin_s: float
    end_s: float
    on: frozenset[str]  # the components and links that had one

    @classmethod
    def of(cls, view: RunView, phase: str) -> SinceFault:
        """From the last injection to the first heal. NotMeasured when there was none."""
        injected = list(view.events("fault_injected", phase))
        healing = [e.t_s for e in view.events("fault_healing", phase)]
        if not injected or not healing:
            raise NotMeasured(f"{phase} was not injected and healed")
        return cls(max(e.t_s for e in injected), min(healing), frozenset(str(e.data.get("on")) for e in injected))

    def served(self, rows: Rows, view: RunView) -> pd.Series:
        """Per attempt: whether it ended well, and not because of the heal.

        Nothing on its way had a fault, so that the heal changed nothing for it, however slow it was. Or its first token
        (its end, without one) came before the heal, or it began so shortly before that the slowest first token of the
        baseline would not have come in time either.
        """
        calm = view.attempts(view.baseline) if view.baseline else view.requests.head(0)
        slowest_s = _first_token_s(calm[calm["outcome"].eq("ok")]).max()
        left_s = self.end_s - rows["start_s"]
        unhurt = self._past(rows, view) | _first_token_s(rows).le(left_s) | left_s.lt(slowest_s)
        return rows["outcome"].eq("ok") & unhurt

    def _past(self, rows: Rows, view: RunView) -> pd.Series:
        """Marks the attempts on whose way nothing had a fault, by the gateways' logs."""
        past = pd.Series(False, index=rows.index)
        for gateway, replica in itertools.product(view.gateways, view.replicas):
            links = (view.topology.link_between(CLIENT, gateway), view.topology.link_between(gateway, replica))
            if self.on.isdisjoint({gateway, replica, *(link.name for link in links)}):
                past |= rows["gateway"].eq(view.address_of(gateway)) & rows["gateway_replica"].eq(replica)
        return past & rows["gateway_retries"].eq(0)

    def ms_until(self, times: Sequence[float], wanted: Sequence[bool]) -> float | None:
        """Milliseconds until the first sample from which on all are as wanted; None when the last one is not.

        NotMeasured when there are no samples, or too few to tell.
        """
        edges = [self.begin_s, *times, self.end_s]
        gap_s = max(right - left for left, right in itertools.pairwise(edges))
        if gap_s > GAP_MAX_S:
            raise NotMeasured(f"not sampled for {gap_s:.1f} s while the fault was in place")
        since: float | None = None
        for t_s, good in zip(times, wanted, strict=True):
            since = (t_s if since is None else since) if good else None
        return None if since is None else (since - self.begin_s) * 1000


def _first_token_s(rows: Rows) -> pd.Series:
    """Seconds that each attempt took until then; until its end where it had none."""
    return rows["ttft_ms"].fillna(rows["e2e_ms"]) / 1000


def limit(view: RunView, within: str) -> Limit:
    """The limit that the expression ``within`` is in this run. NotMeasured when the plan lacks a number."""
    return slo.limit(view, objectives.parse(f"<= {within}"))


def judged(name: str, phase: str, target: Limit, ms: float | None, why: str, never: str, samples: int) -> CheckResult:
    """The result for what took ``ms``. ``{s}`` in ``why`` stands for the seconds; ``never`` is said when it is None."""
    if ms is None:
        return CheckResult(name, Status.FAIL, never, target.text, samples=samples, phase=phase)
    status = Status.PASS if target.met_by(ms) else Status.FAIL
    said = why.format(s=f"{ms / 1000:.1f} s")
    return CheckResult(name, status, said, target.text, ms, "ms", target.margin(ms), samples, phase)
