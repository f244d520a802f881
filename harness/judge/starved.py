"""Gateways without a replica because a disturbed machine failed their health checks; pure.

A gateway that has ejected all replicas refuses at once. That is lack of time only where one of them, at least,

1. was ejected while a third of the time in which its checks failed was disturbed,
2. had no fault then, nor had the gateway or a link between them; nor was there a fault of which nobody knows the place,
3. was readmitted later without a restart: it was slow, and not dead.

Replicas that a fault keeps out do not matter: without the disturbance the others would have been there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from harness.evidence import interference
from harness.evidence.attempts import Rows
from harness.evidence.interference import Span
from harness.evidence.view import RunView
from harness.model.topology import GatewayPolicy

#: What a gateway refuses with when it has no replica that it may give the request to.
NO_REPLICA = "no_replica_free"
#: Of the time in which the checks of a replica failed, one part in so many has to be disturbed.
FACTOR = 3.0


@dataclass(frozen=True)
class _Out:
    """A replica was not used, in seconds since the run's zero: first and last are the samples around it."""

    last_up_s: float
    first_down_s: float
    up_again_s: float  # inf where it never was


def refusals(rows: Rows, view: RunView, spans: Sequence[Span]) -> pd.Series:
    """Marks the attempts that a gateway refused because the machine was too slow for its health checks."""
    candidates = rows[rows["error_code"].eq(NO_REPLICA)]
    marked: list[object] = []
    for gateway in view.gateways if len(candidates) else ():
        mine = candidates[candidates["gateway"].eq(view.address_of(gateway))]
        out = {replica: list(_outs(view, gateway, replica)) for replica in view.replicas}
        slow = [one for replica in out for one in out[replica] if _is_starved(view, gateway, replica, one, spans)]
        for index, at_s in mine["end_s"].items():
            none_left = all(any(_covers(one, at_s) for one in outs) for outs in out.values())
            if none_left and any(_covers(one, at_s) for one in slow):
                marked.append(index)
    return pd.Series(rows.index.isin(marked), rows.index)


def _covers(out: _Out, at_s: float) -> bool:
    return out.last_up_s <= at_s <= out.up_again_s


def _outs(view: RunView, gateway: str, replica: str) -> Iterator[_Out]:
    """When the gateway did not use the replica. Without a sample in use before, it begins at NaN and covers no time."""
    samples = view.metrics(gateway, "server_up", f"server={replica}")
    last_up_s = first_down_s = math.nan
    for t_s, value in zip(samples["t_s"].tolist(), samples["value"].tolist(), strict=True):
        if value == 1:
            if first_down_s == first_down_s:
                yield _Out(last_up_s, first_down_s, t_s)
            last_up_s, first_down_s = t_s, math.nan
        elif value == 0 and first_down_s != first_down_s:
            first_down_s = t_s
    if first_down_s == first_down_s:
        yield _Out(last_up_s, first_down_s, math.inf)


def _is_starved(view: RunView, gateway: str, replica: str, out: _Out, spans: Sequence[Span]) -> bool:
    """Whether nothing but a slow machine is known that explains why the gateway ejected the replica."""
    policy = vars(GatewayPolicy()) | view.gateway_policy
    begin_s = out.last_up_s - policy["check_fall"] * policy["check_timeout_s"]
    disturbed_s = interference.overlap_s(spans, begin_s, out.first_down_s)
    return (
        FACTOR * disturbed_s >= out.first_down_s - begin_s
        and not _restarted(view, replica, begin_s, out.up_again_s)
        and not any(_may_explain(view, on, gateway, replica) for on in _faults_on(view, begin_s, out.first_down_s))
    )


def _restarted(view: RunView, replica: str, begin_s: float, end_s: float) -> bool:
    """Whether it did, or nobody knows: of one that was never used again, nobody does."""
    samples = view.metrics(replica, "restarts_total")
    before = samples["value"][samples["t_s"].le(begin_s)]
    after = samples["value"][samples["t_s"].ge(end_s)]
    seen = [e for e in view.events("component_restarted") if e.data.get("component") == replica]
    if before.empty or after.empty or any(begin_s <= e.t_s <= end_s for e in seen):
        return True
    return bool(before.iloc[-1] != after.iloc[0])


def _faults_on(view: RunView, begin_s: float, end_s: float) -> Iterator[str]:
    """Where a fault was in place in that time, as its events name it."""
    healed = {e.data.get("fault"): e.t_s for e in view.events("fault_healed")}
    for event in view.events("fault_injecting"):
        if event.t_s <= end_s and healed.get(event.data.get("fault"), math.inf) >= begin_s:
            yield str(event.data.get("on"))


def _may_explain(view: RunView, on: str, gateway: str, replica: str) -> bool:
    """Whether a fault on ``on`` may be why the gateway ejects the replica: all but one that is surely elsewhere."""
    others = {*view.gateways, *view.replicas} - {gateway, replica}
    ends = {link.name: {link.source, link.target} for link in view.topology.links}
    return on not in others and bool(ends.get(on, {gateway, replica}).isdisjoint(others))
