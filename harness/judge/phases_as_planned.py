"""Were the phases those of the plan, and are the requests those of the phases that their times say?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from harness.evidence import phases
from harness.evidence.view import RunView
from harness.judge.finding import EVERYTHING, Finding, bad, good
from harness.model.lease import LEASE_S
from harness.model.scenario import Phase

#: Times of events are rounded to microseconds, each for itself.
EXACT_S = 1e-3
_BEGIN, _END = "phase_started", "phase_ended"
_WORDS = {_BEGIN: "began", _END: "ended"}


def phases_as_planned(view: RunView) -> Iterator[Finding]:
    """Did each planned phase run once, in its turn, for as long as it was to last, under load or without it?"""
    if view.interrupted:
        return  # said already, and what was to come is missing
    name = "phases as planned"
    problem, window = next(_problems(view), ("", None))
    if problem:
        yield replace(bad(name, problem, EVERYTHING), window=window)
    else:
        yield good(name, f"all {len(view.planned_phases)} ran in their order, for as long as planned")


def requests_in_their_phase(view: RunView) -> Iterator[Finding]:
    """Is every request recorded in the phase that its times say, and with the fault that they say it met?"""
    name, rows = "requests assigned to phases", view.requests
    again = phases.assign(rows, view.phases)
    for column, words in (("phase", "in phase"), ("straddles", "as straddling")):
        recorded, computed = _alike(rows[column], again[column])
        wrong = recorded.ne(computed)
        if wrong.any():
            who, was, is_ = (values[wrong].iloc[0] or "none" for values in (rows["request_id"], recorded, computed))
            why = f"request {who} is recorded {words} {was}, its times say {is_}"
            yield bad(name, f"{int(wrong.sum())} of {len(rows)} attempts: {why}", EVERYTHING, samples=len(rows))
            return
    yield good(name, f"all {len(rows)} attempts are in the phases that their times say", samples=len(rows))


def _alike(*columns: pd.Series) -> list[pd.Series]:
    """The same as categories that can be compared with each other; "" for none."""
    coded = [column.astype("category") for column in columns]
    known = pd.CategoricalDtype(sorted({"", *(str(word) for column in coded for word in column.cat.categories)}))
    return [column.astype(known).fillna("") for column in coded]


def _problems(view: RunView) -> Iterator[tuple[str, tuple[float, float] | None]]:
    """What is not as planned; with when, where a machine that stood still may be why."""
    told = sorted((e for kind in _WORDS for e in view.events(kind)), key=lambda event: event.t_s)
    planned = [(kind, phase.name) for phase in view.scenario.phases for kind in _WORDS]
    found = [(event.kind, str(event.data.get("phase"))) for event in told]
    for expected, seen in itertools.zip_longest(planned, found):
        if expected != seen:
            yield f"{_words(seen)} where {_words(expected)} by the plan", None
            return  # the lengths of what is out of order say nothing
    for phase in view.scenario.phases:
        yield from _length(view, phase)
    yield from ((why, None) for why in (*_load(view), *_steady(view)))


def _words(event: tuple[str, str] | None) -> str:
    return f"{event[1]} {_WORDS[event[0]]}" if event else "no phase began or ended"


def _length(view: RunView, phase: Phase) -> Iterator[tuple[str, tuple[float, float] | None]]:
    """Shorter than planned is never the machine. Longer is what its faults were waited for, and as long as a lease:
    beyond that the harness itself stood still, and the timeline is not the plan's.
    """
    begin, end = _span(view, phase)
    lasted = f"{phase.name} lasted {end - begin:.1f} s"
    if end - begin < phase.duration - EXACT_S:
        yield f"{lasted}, planned: {phase.duration:g} s", None
    waited = [e.t_s for e in view.events(phase=phase.name) if e.kind.startswith("fault_") and e.t_s <= end]
    if end > (due := max([begin + phase.longest, *waited])) + LEASE_S:
        yield f"{lasted}, planned: {phase.longest:g} s at most", (due, end)
    if phase.until == "settled" or (phase.until and view.target is None):  # a target has no alerts to wait for
        settled = view.events("phase_settled", phase.name)
        unsettled = [one for event in settled for one in event.data.get("unsettled", ())]
        if not settled:
            yield f"whether what {phase.name} was to wait for came is not recorded", None
        elif unsettled and end - begin < phase.longest - EXACT_S:
            yield f"{lasted}, and {unsettled[0]} had not come to its end; planned: {phase.longest:g} s then", None


def _load(view: RunView) -> Iterator[str]:
    """The load is on from before the first phase until after the last one that is not quiet."""
    begins, ends = ([e.t_s for e in view.events(kind)] for kind in ("load_started", "load_stopped"))
    if max(begins, default=math.inf) > view.phases[0].start_s:
        yield "the load was not on when the first phase began"
    for phase in view.scenario.phases:
        begin, end = _span(view, phase)
        if phase.kind == "quiet" and max(ends, default=math.inf) > begin:
            yield f"the load was still on when {phase.name} began"
        elif phase.kind != "quiet" and min(ends, default=math.inf) < end:
            yield f"the load was off before {phase.name} ended"


def _steady(view: RunView) -> Iterator[str]:
    """The steady state is asked for before each fault, before the load is off, and at the end."""
    for phase, following in itertools.zip_longest(view.scenario.phases, view.scenario.phases[1:]):
        if phase.kind in ("warmup", "quiet") or (following and following.kind not in ("fault", "quiet")):
            continue
        until_s = _span(view, following)[0] if following else math.inf
        asked = [event.t_s for event in view.events("steady_state", phase.name)]
        if not asked or min(asked) < _span(view, phase)[1] or max(asked) > until_s:
            yield f"the steady state after {phase.name} was not asked for before what follows"


def _span(view: RunView, phase: Phase) -> tuple[float, float]:
    span = view.phase(phase.name)
    assert span is not None and span.end_s is not None, "the run was not interrupted"
    return span.start_s, span.end_s
