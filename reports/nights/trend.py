"""Every series of a machine's nights: its values night by night, its levels, and what got worse."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from harness.evidence.index import IndexedRun, SeriesKey, Value, series_id
from harness.evidence.record import RunFolder
from harness.judge import sli, trends
from harness.model.errors import RunFolderError
from harness.model.night import Night
from harness.model.verdict import Status
from reports.nights import changes

#: The series of what a stack can carry, for all drills.
CAPACITY = "capacity"
Series = Mapping[SeriesKey, Sequence[tuple[IndexedRun, Value]]]


@dataclass(frozen=True)
class Known:
    """What the folder of a run says of it: what it was made of, and the objective of each series, as text."""

    marks: Callable[[IndexedRun], changes.Marks | None]
    objectives: Callable[[IndexedRun], Mapping[str, str]]


def objectives(run: IndexedRun) -> Mapping[str, str]:
    """Series → the objective of its check, by the run's verdict; empty where that cannot be read."""
    try:
        checks = RunFolder(run.folder).read_json("verdict.json")["checks"]
        return {
            series_id(str(check["id"]), check["phase"], check["subject"]): str(check["objective"]) for check in checks
        }
    except (OSError, RunFolderError, KeyError, TypeError):
        return {}


#: Night by its number, the run, and what it gave.
_Point = tuple[int, IndexedRun, Value]


@dataclass(frozen=True)
class Trend:
    """One series with a place for every night of the machine, oldest first.

    ``values`` are None where the night gave none: INCONCLUSIVE, not run, or not measured. ``runs`` are the runs that
    the values are of, the last attempts of their nights, None where there was none. ``changes`` are the nights since
    which another level holds, ``marks`` those before which versions, model or policy changed.
    """

    key: SeriesKey
    drill: str
    scenario: str
    unit: str
    nights: tuple[Night, ...]
    runs: tuple[IndexedRun | None, ...]
    values: tuple[float | None, ...]
    samples: tuple[int | None, ...]
    changes: tuple[int, ...]
    marks: tuple[int, ...]
    regression: trends.Regression | None

    @property
    def indicator(self) -> bool:
        """Whether it is an SLI, or capacity."""
        return is_indicator(self.key.id)

    @property
    def constant(self) -> bool:
        """Whether every value is the same."""
        return len({value for value in self.values if value is not None}) == 1

    @property
    def last(self) -> int | None:
        """The newest night with a value."""
        return max((i for i, value in enumerate(self.values) if value is not None), default=None)


def of(nights: Sequence[Night], series: Series, known: Known) -> list[Trend]:
    """All series that any of these nights, of one machine, is part of; sorted by drill, scenario and id.

    An objective that has the values of an SLI is that SLI's series, and is left out.
    """
    place = {
        attempt.run_id: number
        for number, night in enumerate(nights)
        for entry in night.entries
        for attempt in entry.attempts
    }
    placed: dict[SeriesKey, list[_Point]] = {}
    for key, points in series.items():
        its = [(place[run.run_id], run, value) for run, value in points if run.run_id in place]
        if its:
            placed.setdefault(_shared(key), []).extend(its)
    found = [_trend(nights, key, _in_order(its), known) for key, its in placed.items()]
    shown = {_values_of(one) for one in found if one.indicator}
    return sorted((one for one in found if one.indicator or _values_of(one) not in shown), key=_order)


def _values_of(trend: Trend) -> tuple[object, ...]:
    """What two series of the same runs have in common that say the same. Of values that never change, its name."""
    own = trend.key.id if trend.constant or trend.last is None else ""
    return replace(trend.key, id=own), trend.values


def _shared(key: SeriesKey) -> SeriesKey:
    """The key of a series on the page: the stack's capacity is the same whatever drill it is loaded for."""
    return replace(key, scenario_digest="") if key.id == CAPACITY else key


def _in_order(points: Sequence[_Point]) -> list[_Point]:
    """By night and attempt. Of a night with many, as of capacity, those with a value come last."""
    several = points[0][2].series == CAPACITY
    return sorted(points, key=lambda p: (p[0], several and _number(p[2]) is not None, p[1].started, p[1].run_id))


def _order(trend: Trend) -> tuple[str, ...]:
    key = trend.key
    return trend.drill, trend.scenario, key.runtime, key.engine, key.scenario_digest, key.id


def _trend(
    nights: Sequence[Night],
    key: SeriesKey,
    points: Sequence[_Point],
    known: Known,
) -> Trend:
    """``points`` are night, run and value, oldest first: the last attempt of a night is its value."""
    at = {night: (run, value) for night, run, value in points}
    runs = tuple(at[i][0] if i in at else None for i in range(len(nights)))
    values = tuple(_number(at[i][1]) if i in at else None for i in range(len(nights)))
    newest = points[-1][1]
    return Trend(
        key=key,
        drill=newest.drill if key.scenario_digest else "",
        scenario=newest.scenario if key.scenario_digest else "",
        unit=next((value.unit for _, _, value in points if value.unit), ""),
        nights=tuple(nights),
        runs=runs,
        values=values,
        samples=tuple(at[i][1].samples if i in at else None for i in range(len(nights))),
        changes=tuple(trends.change_points(values)),
        marks=_marked(runs, known),
        regression=trends.regression(values, worse(key.id, known.objectives(newest).get(key.id, ""))),
    )


def _number(value: Value) -> float | None:
    """What was measured; None for an INCONCLUSIVE, whatever it says."""
    if value.status is Status.INCONCLUSIVE or value.value is None or not math.isfinite(value.value):
        return None
    return value.value


def _marked(runs: Sequence[IndexedRun | None], known: Known) -> tuple[int, ...]:
    """The nights whose run was made of something else than the one before it, as far as both are known."""
    made = [(i, found) for i, run in enumerate(runs) if run is not None and (found := known.marks(run)) is not None]
    return tuple(i for (_, before), (i, after) in pairwise(made) if before != after)


def is_indicator(series: str) -> bool:
    """Whether it is an SLI of a phase, or capacity, and no check."""
    with contextlib.suppress(ValueError):
        sli.find(series.partition("/")[0])
        return True
    return series == CAPACITY


def worse(series: str, objective: str) -> Literal["higher", "lower"]:
    """Which way is worse: what the SLI says, else the objective: lower where it asks for no less than something."""
    if series == CAPACITY:
        return "lower"
    if is_indicator(series):
        return sli.worse(series.partition("/")[0])
    at_least, at_most = (any(sign in objective for sign in signs) for signs in ("≥>", "≤<"))
    return "lower" if at_least and not at_most else "higher"
