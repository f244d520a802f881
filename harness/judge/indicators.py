"""What an alert rule looks at, computed again from the run's own records: was the alert true, or did it cry wolf?

Judged is all the time in which the rule must have held for the alert to fire, over the rule's own window: the worst
that was so in it. «Within» is more than one bucket of the histogram that feeds the rule (one request, for a count)
away from the limit, so that neither the histogram's grain nor the moment of a scrape can explain the alert. Users'
records bound what the rule's series hold from above: latencies as clients saw them, every failure that they met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.evidence.attempts import Attempts
from harness.evidence.evidence import Evidence
from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge.alerts import Alert
from harness.model.alert_rules import (
    BY_NAME,
    E2E_P95_MAX_S,
    EVALUATION_S,
    EXECUTION_P95_MAX_S,
    FAILURE_RATIO_MAX,
    FAILURES_MIN,
    GATEWAY_BUCKETS_S,
    LONG_QUEUE_FULL,
    QUEUE_FULL,
    SCRAPE_S,
    TTFT_BUCKETS_S,
    TTFT_P95_MAX_S,
    Scale,
)

Floats = npt.NDArray[np.float64]
#: Until a request is in a series that Prometheus has: the exporter reads logs twice a second.
_READ_S = 0.5
#: What answers later than this, half a scrape's time, is near to not answering at all.
_ANSWERS_S = SCRAPE_S / 2
#: The moments that are looked at lie so far apart.
_STEP_S = 0.5
#: No replica was asked, or the client never spoke with a gateway: not in the gateways' histograms.
_UNASKED = ("shed_429", "shed_503", "dns_error", "connect_error", "tls_error", "not_sent")
#: Outcomes that no gateway counts as the service's failure.
_NO_FAILURE = ("ok", "shed_429", "http_4xx", *NOT_OF_THE_SERVICE)


class Standing(IntEnum):
    """Where an indicator stood, the worst last."""

    UNKNOWN = 0
    WITHIN = 1
    NEAR = 2  # the limit: within it by no more than the grain of what is measured
    OVER = 3


@dataclass(frozen=True)
class Reading:
    """Where the rule's indicator stood, and a sentence with the numbers."""

    standing: Standing
    why: str


@dataclass(frozen=True)
class _Time:
    """When the rule must have held, and how far it looked back then; seconds since the run's zero."""

    begin_s: float
    end_s: float
    window_s: float

    def spans(self) -> Iterator[tuple[float, float]]:
        """Windows that end in that time; shorter ones, too: two scrapes may have missed what was at the edges."""
        for end_s in np.arange(self.begin_s, self.end_s + _STEP_S / 2, _STEP_S):
            for length_s in (self.window_s, max(self.window_s - 2 * SCRAPE_S, self.window_s / 2)):
                yield float(end_s) - length_s, float(end_s)


def read(view: RunView, alert: Alert, scale: Scale, at_s: float) -> Reading | None:
    """Where the indicator stood while ``alert`` became due, or stayed on, at ``at_s``.

    None when the run's records do not hold what the rule looks at.
    """
    rule, reader = BY_NAME.get(alert.name), _READERS.get(alert.name)
    if rule is None or reader is None:
        return None
    late_s = SCRAPE_S + EVALUATION_S[scale] + _READ_S
    begin_s = at_s - rule.hold.seconds(scale) - late_s
    return reader(view, alert, _Time(begin_s, at_s, rule.window.seconds(scale)))


# ── latency ──


def _latency(view: RunView, values: pd.Series, limit_s: float, edges_s: tuple[float, ...], when: _Time) -> Reading:
    """The p95 of ``values`` (ms, of attempts, by the index of ``view.requests``) against a limit."""
    took_s = values.to_numpy(dtype=float) / 1000
    at_s = view.requests["start_s"].loc[values.index].to_numpy(dtype=float) + took_s
    order = np.argsort(at_s)
    took_s, at_s = took_s[order], at_s[order]
    found = [_p95(took_s[slice(*np.searchsorted(at_s, span, side="right"))]) for span in when.spans()]
    known = [(value, count) for value, count in found if count]
    if not known:
        return Reading(Standing.UNKNOWN, f"no request ended in the {when.window_s:g} s before it")
    worst_s, count = max(known)
    why = f"p95 was {worst_s:.3g} s at most over {when.window_s:g} s (n = {count}), limit {limit_s:g} s"
    if worst_s > limit_s:
        return Reading(Standing.OVER, why)
    return Reading(Standing.WITHIN if worst_s <= clear_below(limit_s, edges_s) else Standing.NEAR, why)


def clear_below(limit: float, edges: tuple[float, ...]) -> float:
    """The largest edge with a whole bucket between it and the limit; minus infinity when there is none."""
    below = sorted(edge for edge in edges if edge <= limit)
    return below[-2] if len(below) > 1 else -np.inf


def _p95(values: Floats) -> tuple[float, int]:
    if not len(values):
        return 0.0, 0
    return float(np.quantile(values, 0.95, method="inverted_cdf")), len(values)


def _asked(view: RunView) -> Attempts:
    """The attempts that a replica was asked, as far as is known, with the time that they took."""
    rows = view.requests
    return rows[rows["e2e_ms"].notna() & ~rows["outcome"].isin(_UNASKED) & rows["gateway_replica"].ne("")]


def _e2e(view: RunView, alert: Alert, when: _Time) -> Reading:
    return _latency(view, _asked(view)["e2e_ms"], E2E_P95_MAX_S, GATEWAY_BUCKETS_S, when)


def _execution(view: RunView, alert: Alert, when: _Time) -> Reading:
    rows = _asked(view)
    values = rows["e2e_ms"].astype(float) - rows["queue_gateway_ms"].astype(float).fillna(0.0)
    return _latency(view, values, EXECUTION_P95_MAX_S, GATEWAY_BUCKETS_S, when)


def _ttft(view: RunView, alert: Alert, when: _Time) -> Reading:
    return _latency(view, view.requests["ttft_ms"].dropna(), TTFT_P95_MAX_S, TTFT_BUCKETS_S, when)


# ── failures ──


def _failures(view: RunView, alert: Alert, when: _Time) -> Reading:
    rows = view.requests[view.requests["e2e_ms"].notna() & view.requests["outcome"].ne("not_sent")]
    at_s = rows["end_s"].to_numpy(dtype=float)
    failed = ~rows["outcome"].isin(_NO_FAILURE).to_numpy(dtype=bool)
    order = np.argsort(at_s)
    at_s, failures = at_s[order], np.concatenate([[0], np.cumsum(failed[order])])
    worst = (Standing.UNKNOWN, 0, 0)
    for span in when.spans():
        first, last = np.searchsorted(at_s, span, side="right")
        count, bad = int(last - first), int(failures[last] - failures[first])
        if count:
            worst = max(worst, (_of_failures(bad, count), bad, count))
    standing, bad, count = worst
    if standing is Standing.UNKNOWN:
        return Reading(standing, f"no request ended in the {when.window_s:g} s before it")
    limit = f"limit {FAILURE_RATIO_MAX:.0%} and {FAILURES_MIN} failures"
    return Reading(standing, f"{bad} of {count} requests failed over {when.window_s:g} s, {limit}")


def _of_failures(bad: int, count: int) -> Standing:
    def over(failed: int) -> bool:
        return failed >= FAILURES_MIN and failed / count > FAILURE_RATIO_MAX

    return Standing.OVER if over(bad) else Standing.NEAR if over(bad + 1) else Standing.WITHIN


# ── states ──


def _always(view: Evidence, series: list[tuple[str, str, str | None]], when: _Time) -> Reading:
    """Whether each of these series was 1 all the time, and so was Prometheus, whose scrapes must come through, too."""
    found = [_of_series(view, *one, when) for one in series]
    worst = max(found, key=lambda one: one.standing, default=Reading(Standing.UNKNOWN, "it was not sampled"))
    scraper = _of_series(view, "prometheus", "rules_evaluated", None, when)
    if worst.standing is Standing.WITHIN and scraper.standing is not Standing.WITHIN:
        return Reading(Standing.NEAR, scraper.why)
    return worst


def _of_series(view: Evidence, component: str, metric: str, labels: str | None, when: _Time) -> Reading:
    frame = view.metrics(component, metric, labels)
    name = f"{component} ({metric.replace('_', ' ')}{f', {labels}' if labels else ''})"
    times, values = frame["t_s"].to_numpy(dtype=float), frame["value"].to_numpy(dtype=float)
    if len(times) < 2:
        return Reading(Standing.UNKNOWN, f"{name} was not sampled")
    if (values[(times >= when.begin_s) & (times <= when.end_s)] == 0).any():
        return Reading(Standing.OVER, f"{name} was 0 in the {when.end_s - when.begin_s:.1f} s before it")
    good = times[(values > 0) & (times <= when.end_s)]
    seen = np.concatenate([good[good <= when.begin_s][-1:], good[good > when.begin_s], [when.end_s]])
    gap_s = float(np.diff(seen).max()) if len(seen) > 1 else when.end_s - when.begin_s
    if gap_s > float(np.median(np.diff(times))) + _ANSWERS_S:
        return Reading(Standing.NEAR, f"{name} was not seen for {gap_s:.1f} s")
    return Reading(Standing.WITHIN, f"{name} was 1 all the time")


def _replica_down(view: RunView, alert: Alert, when: _Time) -> Reading:
    if "server" not in alert.labels:
        return _component_down(view, alert, when)
    labels = f"server={alert.labels['server']}"
    gateways = [c for c in view.scraped if not view.metrics(c, "server_up", labels).empty]
    # One that did not answer at all has told Prometheus nothing either.
    answering = [c for c in gateways if _of_series(view, c, "up", None, when).standing is not Standing.OVER]
    return _always(view, [(gateway, "server_up", labels) for gateway in answering], when)


def _component_down(view: Evidence, alert: Alert, when: _Time) -> Reading:
    return _always(view, [(alert.labels.get("component", ""), "up", None)], when)


def _replica_deaf(view: RunView, alert: Alert, when: _Time) -> Reading:
    """The exporter's question has a deadline, and what came of it stands until the next one: that time counts, too."""
    policy, replica = view.gateway_policy, alert.labels.get("replica", "")
    deadline_s = policy["readiness_deadline_s"]
    when = replace(when, begin_s=when.begin_s - policy["readiness_period_s"] - deadline_s)
    found, frame = _always(view, [(replica, "synthetic_ok", None)], when), view.metrics(replica, "synthetic_ttft_ms")
    took_s = frame["value"][frame["t_s"].between(when.begin_s, when.end_s)] / 1000
    if found.standing is not Standing.WITHIN:
        return found
    if took_s.empty:
        return Reading(Standing.UNKNOWN, f"no synthetic generation of {replica} was timed")
    worst_s = float(took_s.max())
    why = f"{replica} took up to {worst_s:.2g} s for a synthetic generation, limit {deadline_s:g} s"
    if worst_s > deadline_s:
        return Reading(Standing.OVER, why)
    return Reading(Standing.WITHIN if worst_s <= clear_below(deadline_s, GATEWAY_BUCKETS_S) else Standing.NEAR, why)


def _exporter_down(view: RunView, alert: Alert, when: _Time) -> Reading | None:
    """Whether a gateway's log could be read, only the exporter knows."""
    return None if "gateway" in alert.labels else _always(view, [("exporter", "alerts_readable", None)], when)


def _queue_saturated(view: RunView, alert: Alert, when: _Time) -> Reading:
    component = alert.labels.get("component", "")
    if "proxy" in alert.labels:
        return _gateway_queue(view, component, alert.labels["proxy"], when)
    frame = view.metrics(component, "admission_rejections_total")
    refused = frame["value"][frame["t_s"].between(when.begin_s - when.window_s, when.end_s)]
    if len(refused) < 2:
        return Reading(Standing.UNKNOWN, f"what {component} refused was not sampled")
    more = float(refused.diff().clip(lower=0).sum())
    return Reading(Standing.OVER if more else Standing.WITHIN, f"{component} refused {more:g} requests, limit 0")


def _gateway_queue(view: RunView, gateway: str, proxy: str, when: _Time) -> Reading:
    """The samples hold both queues of a gateway together, which is at least what each of them holds."""
    policy = view.gateway_policy
    full = {"replicas": QUEUE_FULL * policy["queue_max"], "long": LONG_QUEUE_FULL * policy["long_queue_max"]}
    limit, frame = full[proxy], view.metrics(gateway, "queue_current")
    queued = frame["value"][frame["t_s"].between(when.begin_s, when.end_s)]
    if queued.empty:
        return Reading(Standing.UNKNOWN, f"the queue of {gateway} was not sampled")
    most = float(queued.max())
    why = f"{most:g} requests waited at {gateway} at most, limit {limit:g}"
    return Reading(Standing.OVER if most >= limit else Standing.NEAR if most + 1 >= limit else Standing.WITHIN, why)


_READERS: dict[str, Callable[[RunView, Alert, _Time], Reading | None]] = {
    "ReplicaDown": _replica_down,
    "ReplicaDeaf": _replica_deaf,
    "GatewayDown": _component_down,
    "ExporterDown": _exporter_down,
    "FailuresHigh": _failures,
    "FailuresHighSlow": _failures,
    "E2eP95High": _e2e,
    "ExecutionP95High": _execution,
    "TtftP95High": _ttft,
    "QueueSaturated": _queue_saturated,
}
