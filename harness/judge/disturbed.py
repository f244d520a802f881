"""What a verdict may say where others disturbed the machine: never PASS, and FAIL unless all of these hold.

1. The check is about time (``Check.timing``), and the disturbance overlaps the time that it judges.
2. Where it judges requests, those that met no disturbance would not break its objective.
3. What came too late did so by three times the overlap at most. A value that never came counts as late
   as the judged time is long; so does what is neither a time nor a matter of requests: of that a third has to overlap.
4. Where it is a steady state that was not reached, no more than one in twenty of its last requests were answered
   wrongly, and no page stayed on long after its own indicator was back within its limit.

A request has met a disturbance when it was on its way during one, or so soon after it that the ones before it still
were, for as long as the disturbance at most. One that ran into a time limit was disturbed for a third of its time at
least: a moment of somebody else's work does not explain a hang. So was one that a gateway refused because the machine
had been too slow for its health checks (harness/judge/starved.py). One that failed of anything but lack of time is
never left out: no neighbour makes a stack answer wrongly, refuse for another reason, or break off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from harness.evidence import interference
from harness.evidence.attempts import Rows
from harness.evidence.interference import Span
from harness.evidence.record import NOT_OF_THE_SERVICE
from harness.evidence.view import RunView
from harness.judge import alerts, indicators, starved, validity
from harness.judge.checks import steady_state
from harness.judge.drill import Check
from harness.judge.finding import Finding
from harness.model.alert_rules import BY_NAME
from harness.model.verdict import CheckResult, Status

FACTOR = 3.0
#: An indicator is looked at so often, well within the shortest window of a rule.
_LOOKS_S = 1.0
_SECONDS = {"s": 1.0, "ms": 0.001}
_TIMEOUT_STATUS = (408, 504)
#: The gateway's refusal of what finds its queue full.
_QUEUE_FULL = ("queue_full", "long_queue_full")
#: Ends that no lack of time explains, but for statuses of a gateway that has waited in vain, or has nobody to ask.
_WRONG = ("http_4xx", "http_5xx", "protocol_error", "broken_stream", "inband_error", "empty", "wrong_model")
_WAITED_STATUS = (*_TIMEOUT_STATUS, 503)

Window = tuple[float, float]


class Machine:
    """The machine during one run."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        try:  # what an interruption prevented is not blamed on the machine
            self.spans: tuple[Span, ...] = () if view.events("interrupted") else interference.spans(view)
        except Exception:  # metrics that cannot be read excuse nothing; that they cannot is found by who needs them
            self.spans = ()

    def weigh(self, check: Check, result: CheckResult) -> tuple[CheckResult, bool]:
        """The result as it may stand, and whether it is INCONCLUSIVE because of the machine."""
        about_time = check.timing or result.status is Status.INCONCLUSIVE  # what was not measured was perhaps too slow
        if not self.spans or not about_time or result.status not in (Status.FAIL, Status.INCONCLUSIVE):
            return result, False
        windows = _windows(self._view, check, result)
        overlap_s = sum(interference.overlap_s(self.spans, *window) for window in windows)
        length_s = sum(end - begin for begin, end in windows)
        if overlap_s <= 0:
            return result, False
        if result.status is Status.INCONCLUSIVE:
            if length_s > FACTOR * overlap_s:
                return result, False
            return self._named(result, windows), True
        if check.steady and (self._answered_wrongly(windows[-1]) or self._cries_wolf(windows[-1][1])):
            return result, False
        late_s = _late_s(check, result, length_s)
        if late_s > FACTOR * overlap_s or (check.per_request and not self._undisturbed_keep(check)):
            return result, False
        return dataclasses.replace(self._named(result, windows), status=Status.INCONCLUSIVE), True

    def explain(self, finding: Finding) -> tuple[Finding, bool]:
        """A finding with the disturbance that overlaps it in its sentence, and whether that explains it."""
        if finding.result.status is Status.PASS or finding.window is None:
            return finding, False
        overlap_s = interference.overlap_s(self.spans, *finding.window)
        if overlap_s <= 0:
            return finding, False
        named = dataclasses.replace(finding, result=self._named(finding.result, [finding.window]))
        if finding.per_request:
            return named, self._undisturbed.get(finding.result.name, False)
        if finding.steady and self._answered_wrongly(finding.window):
            return named, False
        begin, end = finding.window
        late_s = end - begin if finding.late_s is None else finding.late_s
        return named, late_s <= FACTOR * overlap_s

    def _named(self, result: CheckResult, windows: Sequence[Window]) -> CheckResult:
        begin, end = min(begin for begin, _ in windows), max(end for _, end in windows)
        here = [s for s in self.spans for window in windows if s.begin_s < window[1] and s.end_s > window[0]]
        return dataclasses.replace(result, why=f"{result.why}; {interference.describe(here, begin, end)}")

    def _answered_wrongly(self, window: Window) -> bool:
        """Whether more of the last requests of that time than a steady state may have were answered wrongly."""
        begin, end = window
        rows = self._view.final
        rows = rows[rows["intended_start_s"].between(max(begin, end - steady_state.STRETCH_S), end)]
        rows = rows[~rows["judged_phase"].isin(self._view.fault_phases)]
        wrong = rows["outcome"].isin(_WRONG) & ~rows["http_status"].isin(_WAITED_STATUS)
        return bool(100 * wrong.sum() > (100 - steady_state.WITHIN_MIN) * len(rows))

    def _cries_wolf(self, at_s: float) -> bool:
        """Whether a page was on for which there had been no reason since it should have cleared."""
        view, scale = self._view, alerts.scale(self._view)
        for page in alerts.seen(view) if scale is not None else ():
            rule = BY_NAME.get(page.name)
            if scale is None or rule is None or not page.is_page_of_service or not page.is_on(at_s):
                continue
            looked_at = np.arange(at_s - rule.clears_within_s(scale), at_s + _LOOKS_S / 2, _LOOKS_S)
            readings = [indicators.read(view, page, scale, float(t_s)) for t_s in looked_at]
            if all(one is not None and one.standing is indicators.Standing.WITHIN for one in readings):
                return True
        return False

    def _undisturbed_keep(self, check: Check) -> bool:
        try:
            return check.run(self._without_disturbed).status is not Status.FAIL
        except Exception:  # nothing is shown by a check that crashes
            return False

    @cached_property
    def _undisturbed(self) -> dict[str, bool]:
        """By finding: whether it is gone, or has nothing left to look at, without the disturbed requests."""
        found = validity.findings(self._without_disturbed)
        return {f.result.name: f.result.status is Status.PASS or f.result.samples is None for f in found}

    @cached_property
    def _without_disturbed(self) -> RunView:
        return self._view.without(disturbed(self._view, self.spans))


def disturbed(view: RunView, spans: Sequence[Span]) -> frozenset[str]:
    """Ids of the requests that met a disturbance and failed, if at all, of lack of time only."""
    rows = view.requests
    if rows.empty or not spans:
        return frozenset()
    late = _timed_out(rows, view) | starved.refusals(rows, view, spans)
    fine = rows["outcome"].isin(["ok", *NOT_OF_THE_SERVICE]) | late
    begun = rows["intended_start_s"].fillna(rows["start_s"])
    whose, ends = rows["request_id"], rows["end_s"]
    table = pd.DataFrame({"id": whose, "begin": begun, "end": ends, "fine": fine, "late": late})
    requests = table.groupby("id", sort=False).agg(
        begin=("begin", "min"), end=("end", "max"), fine=("fine", "all"), late=("late", "any")
    )
    begin, end = requests["begin"].to_numpy(dtype=float), requests["end"].to_numpy(dtype=float)
    met, overlap_s = np.zeros(len(requests), dtype=bool), np.zeros(len(requests))
    for span in spans:
        waiting = end[(begin <= span.end_s) & (end >= span.end_s)]
        over_s = min(float(waiting.max(initial=span.end_s)), span.end_s + span.length_s)
        met |= (begin <= over_s) & (end >= span.begin_s)
        overlap_s += np.clip(np.minimum(end, over_s) - np.maximum(begin, span.begin_s), 0.0, None)
    met &= ~requests["late"].to_numpy(dtype=bool) | (end - begin <= FACTOR * overlap_s)
    return frozenset(str(i) for i in requests.index[met & requests["fine"].to_numpy(dtype=bool)])


def _timed_out(rows: Rows, view: RunView) -> pd.Series:
    """Marks attempts that ended because time ran out: the client's, the gateway's, or in the gateway's queue.

    A full queue is one of them: who is refused there comes while those before are still waiting for theirs.
    """
    queue_ms = 1000 * view.gateway_policy.get("queue_timeout_s", float("inf"))
    queued = rows["error_code"].eq(starved.NO_REPLICA) & rows["queue_gateway_ms"].ge(queue_ms)
    named = rows["outcome"].fillna("").astype(str).str.startswith("timeout_")
    return named | rows["http_status"].isin(_TIMEOUT_STATUS) | queued | rows["error_code"].isin(_QUEUE_FULL)


def _late_s(check: Check, result: CheckResult, length_s: float) -> float:
    """By how many seconds the objective was missed; what is no time counts as the whole judged time."""
    if result.unit in _SECONDS and result.margin is not None:
        return max(0.0, -result.margin) * _SECONDS[result.unit]
    return 0.0 if check.per_request and result.unit not in _SECONDS else length_s


def _windows(view: RunView, check: Check, result: CheckResult) -> list[Window]:
    """The times that a result speaks of: those of its phases, what came after its heal, or the whole run."""
    ends = [s.end_s or s.start_s for s in view.phases] + [e.t_s for e in view.events("steady_state")]
    if not view.phases:
        return []
    last = max(ends)
    if result.phase is None:
        return [(view.phases[0].start_s, last)]
    names = result.phase.split(", ")
    if check.after_heal:
        healed = max((e.t_s for name in names for e in view.events("fault_healed", name)), default=last)
        faults = (s.fault_start_s for s in view.phases if s.fault_start_s is not None)
        return [(healed, min((t for t in faults if t > healed), default=last))]
    starts = [s.start_s for s in view.phases]
    return [
        (span.start_s, min((t for t in starts if t > span.start_s), default=last))
        for span in view.phases
        if span.name in names
    ]
