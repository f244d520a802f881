"""Were the requests the ones that the plan's schedule has: who, when and how many, computed again from its seed?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from harness.evidence.attempts import Attempts
from harness.evidence.view import RunView
from harness.judge.finding import Finding, bad, good
from harness.model import arrivals
from harness.model.arrivals import Draw

_NAME = "arrivals as planned"
_COLUMNS = ["request_id", "intended_start_s", "cohort", "user_id"]
#: Intended starts are sums and differences of clock readings, each exact to less than a microsecond.
_EXACT_S = 1e-3
#: A load goes on for seconds when nobody is left who records events.
_AFTERWARDS_S = 60.0


def arrivals_as_planned(view: RunView) -> Iterator[Finding]:
    """Is every request one of the schedule, at its time, of its cohort and user, and is none missing?"""
    final = view.final
    if final.empty:
        return  # a run without requests has other findings
    problems = _of_visits(view, final) if view.scenario.load.model == "closed" else _of_schedule(view, final)
    problem = next(problems, None)
    if problem:
        yield bad(_NAME, f"the requests are not those of the plan's schedule: {problem}", "load")
    else:
        yield good(_NAME, f"all {len(final)} requests are those of the plan's schedule", samples=len(final))


def _users(view: RunView) -> tuple[str, ...]:
    return tuple(map(str, view.plan.get("users") or arrivals.default_users()))


def _loaded_until_s(view: RunView) -> float:
    """Until then the load was certainly on: the end of the last phase with load, as far as the run came."""
    ends = [span.end_s for span in view.phases if span.end_s is not None and span.kind != "quiet"]
    stops = [event.t_s for event in view.events("load_stopped")]
    return min(max(ends, default=-math.inf), *stops, math.inf)


def _too_late(view: RunView, zero_s: float) -> Iterator[str]:
    """Where the load was not on when its schedule, which began at ``zero_s``, had it begin."""
    started = [event.t_s for event in view.events("load_started")]
    if not started or zero_s > started[0]:
        yield "the load had not begun when they were meant to start"


def _strange(strange: pd.Series, count: int) -> str:
    return f"{len(strange)} of {count} are none of it, such as {strange.iloc[0]}"


def _wrong(draw: Draw, at_s: float, row: Mapping[Any, Any]) -> Iterator[str]:
    """How a record differs from what is planned at ``at_s``."""
    request = draw.request_id
    if row["cohort"] != draw.cohort.name or row["user_id"] != draw.user_id:
        yield f"{request} is of {row['user_id']} ({row['cohort']}), planned: {draw.user_id} ({draw.cohort.name})"
    elif not abs(float(row["intended_start_s"]) - at_s) <= _EXACT_S:
        yield f"{request} was meant to start at {row['intended_start_s']:.3f} s, planned: {at_s:.3f} s"


# ── open model ──


def _of_schedule(view: RunView, final: Attempts) -> Iterator[str]:
    """What is not as the endless schedule has it until the last record."""
    load, run_id, seed = view.scenario.load, str(view.plan["run_id"]), int(view.plan["seed"])
    number = _numbers(final["request_id"], arrivals.prefix(run_id, seed))
    zero_s, at_s = _due(view, final["intended_start_s"].to_numpy(dtype=float), number)
    known = (number >= 0) & (number < len(at_s))
    if not known.all():
        yield _strange(final[~known]["request_id"], len(final))
    place = np.full(len(at_s), -1)
    place[number[known]] = np.flatnonzero(known)
    missing = (place < 0) & (at_s < _loaded_until_s(view))
    off = ~(np.abs(final["intended_start_s"].to_numpy(dtype=float)[place] - at_s) <= _EXACT_S)
    bad = missing | ((place >= 0) & (off | _others(view, final, place)))
    if bad.any():
        first = int(bad.argmax())
        draw = next(arrivals.arrivals(run_id, seed, load, _users(view), slice(first, first + 1)))
        if missing[first]:
            yield f"{draw.request_id} of {at_s[first]:.1f} s is missing"
        yield from _wrong(draw, float(at_s[first]), final.at(place[[first]])[_COLUMNS].to_dict("records")[0])
    yield from _too_late(view, zero_s)


def _others(view: RunView, final: Attempts, place: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Marks the requests of the schedule whose records, at their ``place``, are of another cohort or user."""
    load, users = view.scenario.load, list(dict.fromkeys(_users(view)))
    of_cohort = arrivals.cohort_users(load, _users(view))
    cohort, user = arrivals.drawn(int(view.plan["seed"]), load, _users(view), len(place))
    for at, ids in enumerate(of_cohort.values()):
        here = cohort == at
        user[here] = pd.Index(users).get_indexer(pd.Index(ids))[user[here]]
    recorded = _places(final["cohort"], list(of_cohort)), _places(final["user_id"], users)
    wrong: npt.NDArray[np.bool_] = (recorded[0][place] != cohort) | (recorded[1][place] != user)
    return wrong


def _places(column: pd.Series, known: list[str]) -> npt.NDArray[np.intp]:
    """The place of each value among those that are known, −1 for any other and for none."""
    kinds = column.astype("category")
    return np.append(pd.Index(known).get_indexer(kinds.cat.categories), -1)[kinds.cat.codes]


def _numbers(ids: pd.Series, prefix: str) -> npt.NDArray[np.int64]:
    """The number in the schedule that each id says, −1 where it is none of this schedule."""
    ids = ids.astype("str")
    ours = ids.str.fullmatch(rf"{prefix}-([0-9]{{{arrivals.DIGITS}}}|[1-9][0-9]{{{arrivals.DIGITS},17}})", na=False)
    found = np.full(len(ids), -1)
    found[ours.to_numpy(dtype=bool)] = pa.array(ids[ours].str.slice(len(prefix) + 1)).cast(pa.int64()).to_numpy()
    return found


def _due(
    view: RunView, intended_s: npt.NDArray[np.float64], number: npt.NDArray[np.int64]
) -> tuple[float, npt.NDArray[np.float64]]:
    """When the schedule began, by the records, and when each of its requests is due until the last record.

    NaN and nothing when none of the records is of this schedule, or the last has no time.
    """
    seed, load, count = int(view.plan["seed"]), view.scenario.load, len(number)
    due_s = arrivals.first_offsets(seed, load, count + 1)
    known = (number >= 0) & (number < count)
    zero_s = float(pd.Series(intended_s[known] - due_s[number[known]]).median())
    last_s = max(float(intended_s.max()), _loaded_until_s(view)) + _EXACT_S
    # What is meant to come long after the last thing that happened is no request of this run.
    last_s = min(last_s, max((event.t_s for event in view.events()), default=math.nan) + _AFTERWARDS_S)
    if not math.isfinite(zero_s) or not math.isfinite(last_s):
        return math.nan, np.empty(0)
    while zero_s + due_s[-1] <= last_s:  # requests are missing
        due_s = arrivals.first_offsets(seed, load, 2 * len(due_s))
    at_s = zero_s + due_s
    return zero_s, at_s[: np.searchsorted(at_s, last_s, side="right")]


# ── closed model ──


def _of_visits(view: RunView, attempts: Attempts) -> Iterator[str]:
    """What is no visit of a user's without a gap. When visits begin depends on the answers."""
    final = attempts[_COLUMNS]
    load, run_id, seed = view.scenario.load, str(view.plan["run_id"]), int(view.plan["seed"])
    recorded = {str(row["request_id"]): row for row in final.to_dict("records")}
    visits: list[Draw] = []
    for cohort, user in arrivals.visitors(load, _users(view)):
        endless = (arrivals.visit(run_id, seed, load, cohort, user, number) for number in itertools.count())
        visits += itertools.takewhile(lambda draw: draw.request_id in recorded, endless)
    strange = final["request_id"][~final["request_id"].isin([draw.request_id for draw in visits])]
    if len(strange):
        yield _strange(strange, len(recorded))
    for draw in visits:
        row = recorded[draw.request_id]
        yield from _wrong(draw, float(row["intended_start_s"]), row)
    zeros_s = [float(recorded[draw.request_id]["intended_start_s"]) - draw.offset_s for draw in visits]
    yield from _too_late(view, min(zeros_s))
