"""A night in one sentence: what failed, what regressed, what was not judged, what was not run."""

from __future__ import annotations

from collections.abc import Sequence

from harness.judge.trends import BEFORE_MIN, SIDE_MIN
from harness.model.night import Entry, Night
from harness.model.verdict import JUDGED, Status
from reports.nights.matrix import day
from reports.nights.regressions import Step, Unjudged
from reports.nights.trend import Trend
from reports.panel import number

_NAMES_MAX = 4


def status(night: Night, regressed: bool) -> str:
    """The worst of it: FAIL, then REGRESSION, then INCONCLUSIVE, then PASS."""
    found = [entry.status for entry in night.entries]
    if Status.FAIL in found:
        return "FAIL"
    if regressed:
        return "REGRESSION"
    return "PASS" if found and all(one is Status.PASS for one in found) else "INCONCLUSIVE"


def sentence(night: Night, trends: Sequence[Trend], steps: Sequence[Step], unjudged: Sequence[Unjudged]) -> str:
    """Its ``results``, then what got worse; that nothing regressed only where a regression could have been seen."""
    parts = [*_results(night), _regressed(trends, steps)]
    if lost := [one for one in unjudged if one.undisturbed]:
        parts.append(f"{_few([one.entry for one in lost])} no longer judged, although nothing disturbed the machine")
    if others := [one for one in unjudged if not one.undisturbed]:
        most = max(one.nights for one in others)
        parts.append(f"{_few([one.entry for one in others])} without a verdict for up to {most} nights running")
    end = " It was interrupted." if night.ended is None else ""
    return f"{'; '.join(parts) if night.entries else 'nothing was planned'}.{end}"


def results(night: Night) -> str:
    """Each entry of the night is counted in exactly one of: passed, failed, not judged, not run."""
    return "; ".join(_results(night)) or "nothing was planned"


def _results(night: Night) -> list[str]:
    passed = [entry for entry in night.entries if entry.status is Status.PASS]
    failed = [entry for entry in night.entries if entry.status is Status.FAIL]
    open_ = [entry for entry in night.entries if entry.status not in (None, *JUDGED)]
    skipped = [entry for entry in night.entries if entry.status is None]
    parts = [f"{len(failed)} of {len(night.entries)} failed ({_names(failed)})" if failed else ""]
    parts.append(f"{len(passed)} passed" if passed and len(passed) < len(night.entries) else "")
    every = "the only drill passed" if len(passed) == 1 else f"all {len(passed)} passed"
    parts.append(every if passed and len(passed) == len(night.entries) else "")
    parts.append(f"{len(open_)} could not be judged ({_names(open_)})" if open_ else "")
    parts.append(f"{len(skipped)} not run ({_names(skipped)}: {_reasons(skipped)})" if skipped else "")
    return [part for part in parts if part]


def entry(found: Step) -> str:
    """The entry that the series is of; of capacity, the runtime and engine alone."""
    trend = found.trend
    return "/".join(filter(None, (trend.scenario, trend.key.runtime, trend.key.engine)))


def no_verdict(one: Unjudged) -> str:
    """An entry that is no longer judged: since when, or for how long, and why."""
    if one.undisturbed:
        return f"{one.entry}: no verdict since the night of {day(one.since)}: {one.undisturbed}: {one.why}"
    return f"{one.entry}: no verdict in {one.nights} nights running: {one.why}"


def step(found: Step) -> str:
    """One series that has become worse: where, from which level to which, and since which night."""
    trend, how = found.trend, found.trend.regression
    assert how is not None
    levels = f"{number(how.before, trend.unit)} → {number(how.after, trend.unit)}"
    return f"{entry(found)}: {trend.key.id}: {levels} since the night of {day(found.since)}"


def _regressed(trends: Sequence[Trend], steps: Sequence[Step]) -> str:
    if not steps:
        long = [trend for trend in trends if sum(value is not None for value in trend.values) >= BEFORE_MIN + SIDE_MIN]
        return "nothing regressed" if long else "too few nights yet to see a regression"
    since = min(steps, key=lambda step: step.since.started).since
    names = _few(list(dict.fromkeys(step.trend.key.id.partition("/")[0] for step in steps)))
    entries = {(step.trend.scenario, step.trend.key.runtime, step.trend.key.engine) for step in steps}
    where = f" of {len(entries)} entries" if len(entries) > 1 else f" of {steps[0].trend.scenario or 'the stack'}"
    return f"{len(steps)} series{where} regressed ({names}), the first of them since the night of {day(since)}"


def _names(entries: Sequence[Entry]) -> str:
    return _few([entry.id for entry in entries])


def _reasons(entries: Sequence[Entry]) -> str:
    return _few(list(dict.fromkeys(entry.not_run or "no reason recorded" for entry in entries)))


def _few(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_MAX
    return ", ".join(names[:_NAMES_MAX]) + (f" and {more} more" if more > 0 else "")
