"""When the incident began, was noticed and was over (docs/incidents.md): by objectives, alerts and trigger."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from harness.judge.outside import Stretch, stretches
from harness.model.incident import NOT_MEASURED, Source
from reports.incident.case import Case, FiredAlert, Promise, between, lasted


@dataclass(frozen=True)
class Moment:
    """One of the incident's times; ``at_s`` None where it is not known, and ``why`` says what it rests on."""

    id: str
    name: str
    at_s: float | None
    within_s: float
    source: Source | None
    why: str


@dataclass(frozen=True)
class Times:
    """All of them, in the order in which they usually come, and the stretches outside each objective."""

    moments: tuple[Moment, ...]
    outside: tuple[tuple[Promise, Stretch], ...]

    def at(self, id_: str) -> Moment:
        """One by its id."""
        return next(moment for moment in self.moments if moment.id == id_)


def of(case: Case) -> Times:
    """As docs/incidents.md defines them. Without a stretch outside an objective nothing began."""
    promises = case.promises()
    outside = [(promise, one) for promise in promises for one in stretches(promise.counted, promise.target)]
    outside.sort(key=lambda found: found[1].from_s)
    trigger = case.trigger()
    known = [at for at in (trigger.began_s, outside[0][1].from_s if outside else None) if at is not None]
    since = min(known, default=0.0)
    fired = next((alert for alert in case.alerts() if not alert.before and alert.fired_s >= since), None)
    moments = (
        _began(outside),
        _first_failure(promises[0], since) if outside else _unknown("first-failure", "first user-visible failure"),
        _detected(case, fired),
        _acknowledged(case, since),
        _mitigated(outside),
        *_over(case, outside, since),
    )
    return Times(moments, tuple(outside))


def spells(found: Times) -> tuple[int, str]:
    """How many stretches outside an objective there were, those that overlap as one, and how long all were together."""
    merged: list[tuple[float, float, float]] = []
    for _, one in found.outside:
        if merged and one.from_s <= merged[-1][1]:
            from_s, until_s, within_s = merged[-1]
            merged[-1] = from_s, max(until_s, one.until_s), max(within_s, one.within_s)
        else:
            merged.append((one.from_s, one.until_s, one.within_s))
    long_s = sum(until_s - from_s for from_s, until_s, _ in merged)
    within_s = sum(within_s for *_, within_s in merged)
    return len(merged), between(0.0, within_s, long_s, within_s)


def gap(began: Moment, detected: Moment) -> str:
    """How much later it was noticed than it began, in words: as uncertain as the two are."""
    if began.at_s is None or detected.at_s is None:
        return NOT_MEASURED
    if detected.at_s >= began.at_s:
        return f"{between(began.at_s, began.within_s, detected.at_s, detected.within_s)} later"
    if detected.at_s >= began.at_s - began.within_s:
        return f"up to {lasted(detected.at_s - began.at_s + began.within_s)} later, or before"
    return f"{between(detected.at_s, detected.within_s, began.at_s, began.within_s)} before"


def _unknown(id_: str, name: str, why: str = "no objective was broken") -> Moment:
    return Moment(id_, name, None, 0.0, None, why)


def _timed(why: str, promise: Promise) -> str:
    return f"{why}; {promise.timed}" if promise.timed else why


def _began(outside: list[tuple[Promise, Stretch]]) -> Moment:
    if not outside:
        return _unknown("began", "began")
    promise, one = outside[0]
    why = _timed(f"first bad request of the first stretch in which this did not hold: {promise.name}", promise)
    return Moment("began", "began", one.from_s, one.within_s, promise.source, why)


def _first_failure(answers: Promise, since_s: float) -> Moment:
    counted = answers.counted
    bad = np.flatnonzero((counted.bad > 0) & (counted.at_s >= since_s))
    if len(bad) == 0:
        counted_any = counted.total.sum() > 0
        why = "every request was answered, some too late" if counted_any else "nobody counted whether any failed"
        return _unknown("first-failure", "first user-visible failure", why)
    at_s = float(counted.at_s[bad[0]])
    within_s = at_s - float(counted.since_s[bad[0]])
    why = _timed("first request that failed", answers)
    return Moment("first-failure", "first user-visible failure", at_s, within_s, answers.source, why)


def _detected(case: Case, fired: FiredAlert | None) -> Moment:
    if fired is None:
        return _unknown("detected", "detected", "no alert fired")
    source = fired.source or case.alert_source()
    return Moment("detected", "detected", fired.fired_s, 0.0, source, f"first alert: {fired.name}")


def _acknowledged(case: Case, since_s: float) -> Moment:
    """The first silence of one of the alerts that fired: whoever has seen it may have done anything else, too."""
    silenced = case.silenced()
    if silenced is None:
        return _unknown("acknowledged", "acknowledged", "no source tells who took it on")
    first = next((one for one in silenced if one.at_s >= since_s), None)
    if first is None:
        return _unknown("acknowledged", "acknowledged", "nobody silenced an alert that had fired")
    why = f"first silence of an alert that had fired: {first.alert}, by {first.by}"
    return Moment("acknowledged", "acknowledged", first.at_s, 0.0, first.source, why)


def _mitigated(outside: list[tuple[Promise, Stretch]]) -> Moment:
    if not outside:
        return _unknown("mitigated", "mitigated")
    promise, last = max(outside, key=lambda found: found[1].until_s)
    why = _timed("last bad request of the last stretch outside an objective", promise)
    return Moment("mitigated", "mitigated", last.until_s, last.within_s, promise.source, why)


def _over(case: Case, outside: list[tuple[Promise, Stretch]], since_s: float) -> tuple[Moment, Moment]:
    """Resolved: the objectives are kept, and what set it off is gone. All clear: the last alert of it has cleared."""
    trigger, mitigated = case.trigger(), _mitigated(outside)
    gone = trigger.ended_s
    if mitigated.at_s is None or (trigger.began_s is not None and gone is None):
        why = "no objective was broken" if mitigated.at_s is None else "what set it off was not seen to end"
        return _unknown("resolved", "resolved", why), _unknown("all-clear", "all clear", why)
    resolved = max(mitigated.at_s, -np.inf if gone is None else gone)
    by_trigger = resolved > mitigated.at_s
    why = (
        "what set it off is gone, and the objectives are kept" if gone is not None else "the objectives are kept again"
    )
    source = trigger.sources[0] if by_trigger else mitigated.source
    within_s = trigger.ended_within_s if by_trigger else mitigated.within_s
    first = Moment("resolved", "resolved", float(resolved), within_s, source, why)
    mine = [alert for alert in case.alerts() if not alert.before and alert.fired_s >= since_s]
    if any(alert.cleared_s is None for alert in mine):
        return first, _unknown("all-clear", "all clear", "an alert was still firing at the end")
    last = max((alert.cleared_s for alert in mine if alert.cleared_s is not None), default=float(resolved))
    clear = max(last, float(resolved))
    if clear == resolved:
        return first, replace(first, id="all-clear", name="all clear")
    return first, Moment("all-clear", "all clear", clear, 0.0, case.alert_source(), "the last alert has cleared")
