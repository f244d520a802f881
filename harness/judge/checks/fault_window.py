"""The time in which a fault was in place, the streams that it met, and how soon after it something was so for good."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harness.evidence.attempts import Attempts, Rows
from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge import objectives, slo
from harness.judge.objectives import Limit
from harness.judge.slo import NotMeasured
from harness.model.topology import CLIENT
from harness.model.verdict import CheckResult, Status

#: Longer without a sample, and nobody knows what happened meanwhile.
GAP_MAX_S = 2.0


@dataclass(frozen=True)
class FaultWindow:
    """The time in which the fault of a phase was wholly in place, in seconds since the run's zero."""

    begin_s: float
    end_s: float
    on: frozenset[str]  # the components and links that had one
    ordered_s: float  # a component may notice a fault as soon as it is ordered, before that is known to be carried out

    @classmethod
    def of(cls, view: RunView, phase: str) -> FaultWindow:
        """From the last injection to the first heal. NotMeasured when there was none."""
        injected = list(view.events("fault_injected", phase))
        healing = [e.t_s for e in view.events("fault_healing", phase)]
        if not injected or not healing:
            raise NotMeasured(f"{phase} was not injected and healed")
        begin_s, on = max(e.t_s for e in injected), frozenset(str(e.data.get("on")) for e in injected)
        ordered_s = min((e.t_s for e in view.events("fault_injecting", phase)), default=begin_s)
        return cls(begin_s, min(healing), on, ordered_s)

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


def judged(target: Limit, ms: float | None, why: str, never: str, samples: int) -> CheckResult:
    """The result for what took ``ms``. ``{s}`` in ``why`` stands for the seconds; ``never`` is said when it is None."""
    if ms is None:
        return CheckResult("", Status.FAIL, never, target.text, samples=samples)
    status = Status.PASS if target.met_by(ms) else Status.FAIL
    said = why.format(s=f"{ms / 1000:.1f} s")
    return CheckResult("", status, said, target.text, ms, "ms", target.margin(ms), samples)


def last_heal_s(view: RunView, phase: str) -> float | None:
    """When the last fault of ``phase`` was healed, in seconds since the run's zero; None where none was."""
    return max((e.t_s for e in view.events("fault_healed", phase)), default=None)


def healed_s(view: RunView, phase: str) -> float:
    """The same. NotMeasured when none was."""
    if (last_s := last_heal_s(view, phase)) is None:
        raise NotMeasured(f"{phase} was not healed")
    return last_s


# ── the streams that a fault meets ──


def on_replica(view: RunView, replica: str) -> Attempts:
    """All attempts that a gateway gave to ``replica``, by the answer's header or by the gateway's log."""
    rows = view.requests
    given = rows["replica"].eq(replica) | rows["gateway_replica"].eq(replica)
    return rows[given & ~rows["outcome"].isin(NOT_OF_THE_SERVICE)]


def given_s(rows: Rows) -> pd.Series:
    """When the gateway gave each attempt to a replica: after it had waited in its queue, if it did."""
    return rows["start_s"] + rows["queue_gateway_ms"].fillna(0) / 1000


def in_flight(rows: Attempts, at_s: float) -> Attempts:
    """Those whose answer had begun and not ended at that moment."""
    begun = rows["start_s"] + rows["headers_ms"] / 1000
    return rows[begun.lt(at_s) & rows["end_s"].gt(at_s)]


def broke_later(count: int) -> str:
    """The end of a sentence about attempts that failed before their answer; "" when none broke later."""
    return f"; {count} more broke after their answer had begun" if count else ""


def step_s(view: RunView, phase: str, step: str) -> float | None:
    """When a fault of ``phase`` had come so far; None when it never did."""
    times = [event.t_s for event in view.events("fault_step", phase) if event.data.get("step") == step]
    return max(times) if times else None
