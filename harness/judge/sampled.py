"""Whether everything was sampled that checks and rules read: without a sample nobody knows, and no rule may pass.

A series must have one sample at least in every stretch of ``gap_max_s``, from the first phase's start to the last one's
end, except while a fault on its component excuses gaps. So a series that is missing, that has a single sample or whose
timestamps are all equal is as bad as one with a hole. A gap must not be so long that a limit could be broken in it
unseen: two seconds for what checks measure times with; a counter keeps its number, so it only has to be seen in
every phase.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from harness.evidence.view import RunView
from harness.judge.finding import EVERYTHING, Finding, bad, good
from harness.model.topology import Stack

#: Of what checks measure times with.
GAP_MAX_S = 2.0
#: Of counters, and of the exporter's questions, which come every two seconds: no phase is as short.
_SLOW_GAP_MAX_S = 5.0
#: What happened before a heal was proven is in the samples so much later: a period of the slowest probe, and a bit.
_SAMPLED_WITHIN_S = 2.0
#: A replica's own page of metrics and what the exporter says of it, a gateway's, and what it says of each replica.
_OF_REPLICA = ("running", "waiting", "kv_usage_ratio", "generation_tokens_total", "preemptions_total")
_OF_GATEWAY = ("ready", "queue_current")
_OF_SERVER = ("server_up", "server_weight", "server_sessions_total")
#: Roles whose restart in the middle of a run makes its numbers another stack's.
_RESTARTS = ("replica", "gateway", "dns", "toxiproxy")


@dataclass(frozen=True)
class Series:
    """What has to be sampled. ``labels`` as in ``RunView.metrics``; ``needed_by`` as ``Finding.invalidates``."""

    component: str
    metric: str
    labels: str | None = None
    gap_max_s: float = GAP_MAX_S
    needed_by: str = "metrics"

    def __str__(self) -> str:
        """As it is told to people."""
        return f"{self.metric.replace('_', ' ')} of {self.component}" + (f" ({self.labels})" if self.labels else "")


def series(stack: Stack) -> Iterator[Series]:
    """Every series that checks and rules of a run on that stack of Drillyard's own read, and every runtime can sample.

    What only some can, such as memory, is asked for by the checks that need it.
    """
    replicas = stack.of("replica")
    yield from (Series(replica, metric) for replica in replicas for metric in _OF_REPLICA)
    for gateway in stack.of("gateway"):
        yield from (Series(gateway, metric) for metric in _OF_GATEWAY)
        yield from (Series(gateway, metric, f"server={replica}") for metric in _OF_SERVER for replica in replicas)
    yield Series("dns", "answered")
    restarting = (name for role in _RESTARTS for name in stack.of(role))
    yield from (Series(name, "restarts_total", None, _SLOW_GAP_MAX_S, EVERYTHING) for name in restarting)
    yield from (Series(replica, "synthetic_ok", None, _SLOW_GAP_MAX_S) for replica in replicas)


def everything_sampled(view: RunView) -> Iterator[Finding]:
    """Was every series sampled, in every phase, that a check or a rule may read?"""
    name = "series sampled"
    if view.target is not None:
        yield good(name, "no series of Drillyard's own stack is needed")
        return
    if not view.phases:
        yield bad(name, "no phase was started, so nothing was sampled for one", "metrics")
        return
    wanted = tuple(series(view.topology.stack))
    found = [(one, *_gap(view, one)) for one in wanted]
    holes = [(one, gap, at) for one, gap, at in found if gap > one.gap_max_s]
    if not holes and (silent := _answers_missing(view)):
        yield bad(name, f"DNS answered {silent} times, but what it answered was not sampled", "metrics")
    elif not holes:
        yield good(
            name,
            f"none of {len(wanted)} series has a gap of more than {GAP_MAX_S:g} s (slow ones: {_SLOW_GAP_MAX_S:g} s)",
        )
    else:
        invalidates = dict.fromkeys(one.needed_by for one, _, _ in holes)
        yield replace(bad(name, _told(view, holes), *invalidates), window=_window(holes))


def _told(view: RunView, holes: list[tuple[Series, float, float]]) -> str:
    one, gap, at = holes[0]
    never = view.metrics(one.component, one.metric, one.labels).empty
    what = "was never sampled" if never else f"was not sampled for {gap:.1f} s from {at:.1f} s on"
    return f"{one} {what}" + (f" (and {len(holes) - 1} more)" if len(holes) > 1 else "")


def _window(holes: Iterable[tuple[Series, float, float]]) -> tuple[float, float]:
    """From the begin of the first hole to the end of the last."""
    begins, ends = zip(*((at, at + gap) for _, gap, at in holes), strict=True)
    return min(begins), max(ends)


def _gap(view: RunView, one: Series) -> tuple[float, float]:
    """The longest gap, and when it began."""
    samples = view.metrics(one.component, one.metric, one.labels)
    begin, end = view.phases[0].start_s, max(p.end_s if p.end_s is not None else p.start_s for p in view.phases)
    return largest_gap(samples["t_s"].to_numpy(dtype=float), begin, end, expected_gaps(view, one.component))


def largest_gap(
    times: np.ndarray, begin: float, end: float, expected: Iterable[tuple[float, float]]
) -> tuple[float, float]:
    """The longest time without a sample outside the expected gaps, and when it began."""
    expected = list(expected)
    moments = np.concatenate([times, [edge for gap in expected for edge in gap]])
    inner = np.unique(moments[(moments > begin) & (moments < end)])
    left, right = np.concatenate([[begin], inner]), np.concatenate([inner, [end]])
    gaps = right - left
    for since, until in expected:
        gaps[(left >= since) & (right <= until)] = 0.0
    worst = int(gaps.argmax())
    return (float(gaps[worst]), float(left[worst])) if gaps[worst] > 0 else (0.0, begin)


def expected_gaps(view: RunView, component: str, what: str = "gaps") -> Iterator[tuple[float, float]]:
    """When a fault on the component itself excuses gaps or restarts: until its heal was proven, or found not to be."""
    for order in view.events("fault_injecting"):
        if order.data.get("on") == component and what in order.data.get("expected_disruptions", ()):
            proofs = (e for kind in ("heal_proven", "heal_unproven") for e in view.events(kind))
            ends = [e.t_s for e in proofs if e.data.get("fault") == order.data.get("fault")]
            yield order.t_s, max(ends, default=np.inf) + _SAMPLED_WITHIN_S


def _answers_missing(view: RunView) -> int:
    """How often DNS answered and no address of the answer was recorded."""
    answered = view.metrics("dns", "answered")
    times = answered["t_s"][answered["value"].eq(1)]
    return int((~times.isin(view.metrics("dns", "answer")["t_s"])).sum())
