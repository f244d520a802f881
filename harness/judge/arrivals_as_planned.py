"""Were the requests the ones that the plan's schedule has: who, when and how many, computed again from its seed?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from harness.evidence.view import RunView
from harness.judge.finding import Finding, bad, good
from harness.model import arrivals
from harness.model.arrivals import Draw

_NAME = "arrivals as planned"
#: Intended starts are sums and differences of clock readings, each exact to less than a microsecond.
_EXACT_S = 1e-3


def arrivals_as_planned(view: RunView) -> Iterator[Finding]:
    """Is every request one of the schedule, at its time, of its cohort and user, and is none missing?"""
    final = view.final[["request_id", "intended_start_s", "cohort", "user_id"]]
    if final.empty:
        return  # a run without requests has other findings
    recorded: dict[str, Mapping[Any, Any]] = {str(row["request_id"]): row for row in final.to_dict("records")}
    due = _due(view, _zero_s(view, recorded), recorded)
    problem = next(_problems(view, recorded, due), None)
    if problem:
        yield bad(_NAME, f"the requests are not those of the plan's schedule: {problem}", "load")
    else:
        yield good(_NAME, f"all {len(final)} requests are those of the plan's schedule", samples=len(final))


def _zero_s(view: RunView, recorded: Mapping[str, Mapping[Any, Any]]) -> float:
    """When the schedule began, by the records; NaN when none of them is of this schedule."""
    load, run_id, seed = view.scenario.load, str(view.plan["run_id"]), int(view.plan["seed"])
    if load.model == "closed":
        return math.nan
    draws = arrivals.arrivals(run_id, seed, load, _users(view), slice(len(recorded)))
    zeros = [recorded[d.request_id]["intended_start_s"] - d.offset_s for d in draws if d.request_id in recorded]
    return float(pd.Series(zeros, dtype=float).median())


def _users(view: RunView) -> tuple[str, ...]:
    return tuple(map(str, view.plan.get("users") or arrivals.default_users()))


def _due(view: RunView, zero_s: float, recorded: Mapping[str, Mapping[Any, Any]]) -> dict[str, tuple[Draw, float]]:
    """What the schedule has until the last record, by id, with its intended start."""
    load, run_id, seed = view.scenario.load, str(view.plan["run_id"]), int(view.plan["seed"])
    if load.model == "closed":
        return dict(_visits(view, recorded))
    last = max(max(float(row["intended_start_s"]) for row in recorded.values()), _loaded_until_s(view))
    due: dict[str, tuple[Draw, float]] = {}
    if not math.isfinite(zero_s) or not math.isfinite(last):
        return due
    for draw in arrivals.arrivals(run_id, seed, load, _users(view)):
        if zero_s + draw.offset_s > last + _EXACT_S:
            return due
        due[draw.request_id] = draw, zero_s + draw.offset_s
    raise AssertionError("the schedule is endless")


def _visits(view: RunView, recorded: Mapping[str, Mapping[Any, Any]]) -> Iterator[tuple[str, tuple[Draw, float]]]:
    """Closed model: each user's visits without a gap. When they begin depends on the answers."""
    load, run_id, seed = view.scenario.load, str(view.plan["run_id"]), int(view.plan["seed"])
    for cohort, user in arrivals.visitors(load, _users(view)):
        for number in itertools.count():
            draw = arrivals.visit(run_id, seed, load, cohort, user, number)
            if draw.request_id not in recorded:
                break
            yield draw.request_id, (draw, float(recorded[draw.request_id]["intended_start_s"]))


def _loaded_until_s(view: RunView) -> float:
    """Until then the load was certainly on: the end of the last phase with load, as far as the run came."""
    ends = [span.end_s for span in view.phases if span.end_s is not None and span.kind != "quiet"]
    stops = [event.t_s for event in view.events("load_stopped")]
    return min(max(ends, default=-math.inf), *stops, math.inf)


def _problems(
    view: RunView, recorded: Mapping[str, Mapping[Any, Any]], due: Mapping[str, tuple[Draw, float]]
) -> Iterator[str]:
    strange = [request for request in recorded if request not in due]
    if strange:
        yield f"{len(strange)} of {len(recorded)} are none of it, such as {strange[0]}"
    for request, (draw, at_s) in due.items():
        row = recorded.get(request)
        if row is None:
            if at_s < _loaded_until_s(view):
                yield f"{request} of {at_s:.1f} s is missing"
        elif row["cohort"] != draw.cohort.name or row["user_id"] != draw.user_id:
            yield f"{request} is of {row['user_id']} ({row['cohort']}), planned: {draw.user_id} ({draw.cohort.name})"
        elif not abs(float(row["intended_start_s"]) - at_s) <= _EXACT_S:
            yield f"{request} was meant to start at {row['intended_start_s']:.3f} s, planned: {at_s:.3f} s"
    started = [event.t_s for event in view.events("load_started")]
    if not started or min(at_s - draw.offset_s for draw, at_s in due.values()) > started[0]:
        yield "the load had not begun when they were meant to start"
